"""Where a monitor's hidden states come from, as far as the monitor sees it."""

from __future__ import annotations

from typing import Any, Protocol

from lightning_layerscope.measurements import Measurement
from lightning_layerscope.monitor.host_state import HostState
from lightning_layerscope.references import ReferenceBank


class Source(Protocol):
    """Where hidden states come from: forward passes of the monitor's own, or the user's validation.

    Attributes:
        reference_name: What a reference that is still to be made is called; None for ``"initial"`` at step 0, and the
            step's name later.
    """

    reference_name: str | None

    @property
    def ready(self) -> bool:
        """Whether a measurement can be taken now."""

    def set_reference(self, bank: ReferenceBank) -> None:
        """Compare with this reference from now on; called on every rank that takes part."""

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
