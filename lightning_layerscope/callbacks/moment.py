"""What a trainer tells the monitor at one point of its run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from lightning_layerscope.measurements import Measurement
from lightning_layerscope.references import ReferenceBank


@dataclass(frozen=True)
class Moment:
    """One point of a run.

    Attributes:
        model: The bare model: no DDP wrapper, whose forward pass is a collective.
        step: Optimiser steps taken.
        host_step: What the trainer's loggers count by.
        autocast: Opens the context that the trainer runs forward passes in.
        total_steps: Optimiser steps that the run is going to take, where known.
    """

    model: nn.Module
    step: int
    host_step: int
    autocast: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext
    total_steps: int | None = None


class Source(Protocol):
    """Where hidden states come from: forward passes of the monitor's own, or the user's validation."""

    @property
    def ready(self) -> bool:
        """Whether a measurement can be taken now."""

    def adopt(self, bank: ReferenceBank) -> None:
        """Compare with this reference from now on; called on every rank that takes part."""

    def collect(self, moment: Moment) -> Any:
        """This rank's part of a measurement; without a reference so far, the part of one too. May raise."""

    def conclude(self, parts: list[Any], moment: Moment) -> tuple[ReferenceBank, Measurement]:
        """On rank 0: the reference and the measurement, from the parts of all ranks. May raise."""

    def describe(self) -> dict[str, Any]:
        """What is measured on, for the record's configuration."""

    def preview(self) -> str:
        """What one measurement takes, in words."""
