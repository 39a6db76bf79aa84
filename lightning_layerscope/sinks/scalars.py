"""Any Lightning logger that has no file of its own here: its scalars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from lightning_layerscope.sinks.keys import ROOT, KeyPlan, plan_of
from lightning_layerscope.sinks.log_rows import measurement_row

if TYPE_CHECKING:
    from lightning_layerscope.measurements import Measurement, RunRecord


class ScalarSink:
    """Logs each measurement's scalars to any other Lightning logger, or to an object like one.

    The keys are those of :class:`~lightning_layerscope.sinks.WandbSink`; pictures and curves over layers go to the HTML
    report.

    Args:
        logger: has ``log_metrics(row, step=...)``.
        per_task_keys: also log one key per task and layer.
        root: where the keys begin.

    Raises:
        TypeError: if it has no ``log_metrics``.
    """

    def __init__(self, logger: Any, *, per_task_keys: bool = False, root: str = ROOT) -> None:
        if not callable(getattr(logger, "log_metrics", None)):
            raise TypeError(f"expected a logger with log_metrics(row, step=...), got {type(logger).__name__}")
        self._logger = logger
        self._per_task_keys, self._root = per_task_keys, root
        self._plan: KeyPlan | None = None

    @property
    def target(self) -> Any:
        """What is logged to."""
        return self._logger

    @property
    def arrives(self) -> str:
        """What is logged where."""
        return f"scalars to {type(self._logger).__name__}"

    def start(self, record: RunRecord) -> None:
        """Nothing to prepare."""

    def log(self, measurement: Measurement, record: RunRecord, host_step: int) -> None:
        """Log one row at the host's step."""
        if self._plan is None:
            self._plan = plan_of(measurement, per_task=self._per_task_keys, root=self._root)
        self._logger.log_metrics(measurement_row(measurement, self._plan), step=int(host_step))

    def finish(self, record: RunRecord, status: Literal["finished", "exception"]) -> None:
        """Write out what the logger still holds: after an exception nobody else may."""
        save = getattr(self._logger, "save", None)
        if callable(save):
            save()
