"""Sinks for the loggers of a trainer, found by what they are called, so that both Lightning namespaces will do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning_layerscope.compat.lightning import is_dummy_experiment, is_wandb_logger
from lightning_layerscope.compat.wandb import is_run
from lightning_layerscope.sinks.base import Sink
from lightning_layerscope.sinks.keys import KeyPlan, plan_keys
from lightning_layerscope.sinks.rows import measurement_row
from lightning_layerscope.sinks.wandb import WandbSink

if TYPE_CHECKING:
    from lightning_layerscope.measurements import Measurement, RunRecord


class ScalarSink:
    """Logs each measurement's scalars to any Lightning logger: TensorBoard, CSV, MLflow, ...

    The keys are those of :class:`~lightning_layerscope.sinks.WandbSink`; pictures and curves over layers go to the HTML
    report.

    Args:
        logger: has ``log_metrics(row, step=...)``.
        per_task_keys: also log one key per task and layer.

    Raises:
        TypeError: if it has no ``log_metrics``.
    """

    def __init__(self, logger: Any, *, per_task_keys: bool = False) -> None:
        if not callable(getattr(logger, "log_metrics", None)):
            raise TypeError(f"expected a logger with log_metrics(row, step=...), got {type(logger).__name__}")
        self._logger = logger
        self._per_task_keys = per_task_keys
        self._plan: KeyPlan | None = None

    def start(self, record: RunRecord) -> None:
        """Nothing to prepare."""

    def log(self, measurement: Measurement, record: RunRecord, host_step: int) -> None:
        """Log one row at the host's step."""
        if self._plan is None:
            self._plan = plan_keys(measurement.profile, per_task=self._per_task_keys)
        self._logger.log_metrics(measurement_row(measurement, self._plan), step=int(host_step))

    def finish(self, record: RunRecord, status: Literal["finished", "exception"]) -> None:
        """Write out what the logger still holds: after an exception nobody else may."""
        save = getattr(self._logger, "save", None)
        if callable(save):
            save()


def sinks_for(
    loggers: Any,
    *,
    host_step_key: str = "trainer/global_step",
    per_task_keys: bool = False,
    upload_prompts: str | Path | Literal[False] = False,
    reference_folder: str | Path | None = None,
) -> list[Sink]:
    """One sink per logger; a run of W&B may stand in the list as well.

    Args:
        loggers: one logger, several, or none (``None``, ``False``, ``[]``).
        host_step_key: see :class:`~lightning_layerscope.sinks.WandbSink`.
        per_task_keys: of all sinks.
        upload_prompts: see :class:`~lightning_layerscope.sinks.WandbSink`.
        reference_folder: see :class:`~lightning_layerscope.sinks.WandbSink`.

    Raises:
        TypeError: for something that is no logger.
    """
    found: list[Sink] = []
    for logger in _several(loggers):
        run = logger.experiment if is_wandb_logger(logger) else logger
        if is_dummy_experiment(run):
            continue
        if run is not logger or is_run(logger):
            found.append(
                WandbSink(
                    run,
                    host_step_key=host_step_key,
                    per_task_keys=per_task_keys,
                    upload_prompts=upload_prompts,
                    reference_folder=reference_folder,
                )
            )
        else:
            found.append(ScalarSink(logger, per_task_keys=per_task_keys))
    return found


def _several(loggers: Any) -> Iterable[Any]:
    if loggers is None or isinstance(loggers, bool):
        return []
    return loggers if isinstance(loggers, list | tuple) else [loggers]
