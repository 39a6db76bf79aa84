"""What a trainer tells the monitor at one point of its run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class HostState:
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
