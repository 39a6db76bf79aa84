"""What a place for results must offer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from lightning_layerscope.measurements import Measurement, RunRecord
    from lightning_layerscope.measurements.alert import Alert


@runtime_checkable
class Sink(Protocol):
    """Where a run's results go. Methods may raise: who calls decides what a failing logger means for the run."""

    def start(self, record: RunRecord) -> None:
        """Called once, before the first measurement of this process; a resumed run's record holds measurements."""

    def log(self, measurement: Measurement, record: RunRecord, host_step: int) -> None:
        """Called after every measurement.

        Args:
            measurement: the new one; it is the record's last.
            record: of the run so far.
            host_step: the step under which the host's own logger counts.
        """

    def finish(self, record: RunRecord, status: Literal["finished", "exception"]) -> None:
        """Called once, at the end of the run or when it failed."""


@runtime_checkable
class AlertSink(Sink, Protocol):
    """A sink whose tracker tells people, by mail or message."""

    def alert(self, alert: Alert) -> None:
        """Called once for each alert of the run, after the measurement that gave it was logged."""
