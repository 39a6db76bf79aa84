"""MLflow: metrics, pictures with their steps, and one table of the curves at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning_layerscope.sinks.tracker import Lines, Tracker, tidy

if TYPE_CHECKING:
    from lightning_layerscope.sinks.picture import Picture

MOST_METRICS = 1000
"""MLflow takes no more in one call."""


class MLflowTracker(Tracker):
    """Logs through ``MlflowClient`` by the run's id, which works after the host has ended its run, too.

    Args:
        handle: Lightning's ``MLFlowLogger``, or a run: ``mlflow.active_run()``.
    """

    name = "MLflow"
    takes = "scalars, pictures and a table of curves"

    def __init__(self, handle: Any) -> None:
        super().__init__(handle)
        if hasattr(handle, "run_id"):
            self._client, self._run_id = handle.experiment, handle.run_id
        else:
            from mlflow import MlflowClient

            self._client, self._run_id = MlflowClient(), handle.info.run_id
        self._curves: dict[str, dict[str, list[Any]]] = {}

    def log_row(self, row: Mapping[str, float], step: int) -> None:
        """Log metrics."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(key, value, now, step) for key, value in row.items()]
        for first in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(self._run_id, metrics=metrics[first : first + MOST_METRICS])

    def log_pictures(self, pictures: Sequence[tuple[str, Picture]], step: int) -> None:
        """Log images under a key and a step: MLflow shows them with a slider."""
        for key, picture in pictures:
            self._client.log_image(self._run_id, picture.image().convert("RGB"), key=key, step=step, synchronous=True)

    def log_curves(self, key: str, lines: Lines, step: int) -> None:
        """Keep them for the end: every call for a table reads and writes the whole of it."""
        table = self._curves.setdefault(key, {})
        for name, column in tidy(lines, step).items():
            table.setdefault(name, []).extend(column)

    def close(self) -> None:
        """Log the table."""
        while self._curves:
            key, table = self._curves.popitem()
            self._client.log_table(self._run_id, data=table, artifact_file=f"{key}.json")
