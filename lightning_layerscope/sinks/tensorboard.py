"""TensorBoard: scalars and pictures, through the run's own ``SummaryWriter``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from lightning_layerscope.compat.tensorboard import add_png, add_row
from lightning_layerscope.sinks.keys import ROOT, KeyPlan, plan_of, under
from lightning_layerscope.sinks.log_rows import measurement_row
from lightning_layerscope.sinks.picture import numbered

if TYPE_CHECKING:
    from lightning_layerscope.measurements import Measurement, RunRecord
    from lightning_layerscope.sinks.picture import Picture


class TensorBoardSink:
    """Logs each measurement's scalars and pictures at the host's step.

    The keys are those of :class:`~lightning_layerscope.sinks.WandbSink`; where several pictures share a key (task x
    task at several layers), a number is added to it.

    Args:
        writer: Gives the ``SummaryWriter`` to log to. It is asked every time, since a trainer may open its writer later
            than the monitor starts.
        per_task_keys: Also log one key per task and layer.
        root: Where the keys begin.
    """

    def __init__(self, writer: Callable[[], Any], *, per_task_keys: bool = False, root: str = ROOT) -> None:
        self._writer = writer
        self._per_task_keys, self._root = per_task_keys, root
        self._plan: KeyPlan | None = None

    @property
    def target(self) -> Any:
        """What is logged to."""
        return self._writer()

    arrives = "scalars and pictures to TensorBoard"
    """What is logged where."""

    def start(self, record: RunRecord) -> None:
        """Nothing to prepare."""

    def log(self, measurement: Measurement, record: RunRecord, host_step: int) -> None:
        """Log the scalars.

        Raises:
            RuntimeError: If there is no writer.
        """
        writer = self._there()
        if self._plan is None:
            self._plan = plan_of(measurement, per_task=self._per_task_keys, root=self._root)
        add_row(writer, measurement_row(measurement, self._plan), int(host_step))
        writer.flush()

    def wants_pictures(self, record: RunRecord) -> bool:
        """Of every measurement."""
        return True

    def log_pictures(self, pictures: Sequence[Picture], *, step: int, host_step: int, last: bool) -> bool:
        """Log them at the step at which they were measured: TensorBoard takes steps in any order.

        They are not flushed: training would wait until they are on the disk. The writer does it within its
        ``flush_secs``, the next measurement before that.

        Raises:
            RuntimeError: If there is no writer.
        """
        writer = self._there()
        for key, picture in numbered(pictures):
            add_png(writer, under(self._root, key), picture, int(host_step))
        return True

    def finish(self, record: RunRecord, status: Literal["finished", "exception"]) -> None:
        """Write out what the writer still holds: after an exception nobody else may."""
        writer = self._writer()
        if writer is not None:
            writer.flush()

    def _there(self) -> Any:
        writer = self._writer()
        if writer is None:
            raise RuntimeError("TensorBoard is to be logged to, and the trainer has opened no SummaryWriter")
        return writer
