"""What a place for results must offer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from lightning_layerscope.measurements import Measurement, RunRecord
    from lightning_layerscope.measurements.alert import Alert
    from lightning_layerscope.sinks.picture import Picture


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
class PictureSink(Sink, Protocol):
    """A sink that shows pictures, which are drawn beside training and come some time after the numbers."""

    def wants_pictures(self, record: RunRecord) -> bool:
        """Whether the last measurement of the record is to be pictured."""

    def log_pictures(self, pictures: Sequence[Picture], *, step: int, host_step: int, last: bool) -> bool:
        """Called with the pictures of one measurement after the other, in order of steps.

        Args:
            pictures: Finished PNG files.
            step: Of the measurement.
            host_step: The step under which the host's own logger counted at the measurement.
            last: The run is over: there is no later.

        Returns:
            Whether they were taken; where not, the same ones are offered again later.
        """


@runtime_checkable
class AlertSink(Sink, Protocol):
    """A sink whose tracker tells people, by mail or message."""

    def alert(self, alert: Alert) -> None:
        """Called once for each alert of the run, after the measurement that gave it was logged."""


def name_of(sink: object) -> str:
    """What a sink is called in messages: its tracker's name, where it says one."""
    return str(getattr(sink, "name", type(sink).__name__))
