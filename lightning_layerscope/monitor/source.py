"""Where a monitor's hidden states come from, as far as the monitor sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from lightning_layerscope.measurements import Measurement
from lightning_layerscope.measurements.behaviour import Rows
from lightning_layerscope.monitor.host_state import HostState
from lightning_layerscope.references import ReferenceBank

if TYPE_CHECKING:
    from lightning_layerscope.monitor.start import Plan


class Source(Protocol):
    """Where hidden states come from: forward passes of the monitor's own, or the user's validation.

    Attributes:
        baseline: How the model answered at the beginning, of all tasks on rank 0; empty where that is not measured.
    """

    baseline: Rows

    @property
    def ready(self) -> bool:
        """Whether a measurement can be taken now."""

    def begin(self, plan: Plan) -> None:
        """Go on from here: with this reference and baseline, where there are such; on every rank that takes part."""

    def measure_local(self, host: HostState) -> Any:
        """This rank's part of a measurement; without a reference so far, the part of one too. May raise."""

    def merge(self, parts: list[Any], host: HostState) -> tuple[ReferenceBank, Measurement]:
        """On rank 0: the reference and the measurement, from the parts of all ranks. May raise."""

    def describe(self) -> dict[str, Any]:
        """What is measured on, for the record's configuration."""

    def preview(self) -> str:
        """What one measurement takes, in messages."""


def name_of_reference(given: str | None, step: int) -> str:
    """A baseline from within a run never goes by the name of its beginning."""
    return given or ("initial" if step == 0 else f"step {step}")
