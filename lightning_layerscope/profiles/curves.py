"""From rows to matrices and mean curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lightning_layerscope.functional.cluster_intervals import defined_mean, mean_intervals

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cells:
    """Where the rows of one measure and step are. To look for names in all rows takes longer than all else.

    Attributes:
        rows: Their positions in the table.
        places: For each, its place in ``(tasks, layers)``, counted row by row.
    """

    rows: NDArray[np.intp]
    places: NDArray[np.intp]


def find_cells(frame: pd.DataFrame, measure: str, step: int, tasks: Sequence[str], layers: Sequence[int]) -> Cells:
    """Find the rows of one measure and step; none where it was not measured."""
    steps = np.flatnonzero(frame["step"].to_numpy() == step)
    rows = steps[(frame["measure"].iloc[steps] == measure).to_numpy(dtype=bool)]
    row = pd.Index(tasks).get_indexer(pd.Index(frame["task"].iloc[rows]))
    column = pd.Index(layers).get_indexer(pd.Index(frame["layer"].iloc[rows]))
    return Cells(rows, row * len(layers) + column)


def matrix(frame: pd.DataFrame, cells: Cells, shape: tuple[int, int], column: str) -> Floats:
    """One column of the rows of one measure and step as ``(tasks, layers)``; NaN where there is no row.

    Raises:
        ValueError: if the rows hold one cell under several estimators.
    """
    if len(cells.places) and np.bincount(cells.places).max() > 1:
        estimators = frame["estimator"].iloc[cells.rows].unique().tolist()
        raise ValueError(
            f"expected one estimator per measure and step, got {estimators}; select the rows of one of them"
        )
    values = np.full(shape, np.nan)
    values.flat[cells.places] = frame[column].to_numpy()[cells.rows]
    return values


def cluster_means(values: Floats, clusters: Sequence[str]) -> dict[str, Floats]:
    """Mean over the rows of each cluster of ``(tasks, layers)``, where defined.

    Args:
        values: One row per task.
        clusters: That of each row.
    """
    members: dict[str, list[int]] = {}
    for row, cluster in enumerate(clusters):
        members.setdefault(cluster, []).append(row)
    return {cluster: defined_mean(values[rows]) for cluster, rows in members.items()}


def mean_curve(
    values: Floats,
    layers: Sequence[int],
    confidence: float,
    clusters: Sequence[str] | None = None,
    *,
    simultaneous: bool = False,
) -> pd.DataFrame:
    """Mean per layer with its interval over the rows of ``(tasks, layers)``.

    See :func:`~lightning_layerscope.functional.cluster_intervals.mean_intervals`, which gives the interval.

    Raises:
        ValueError: for a confidence outside (0, 1).
    """
    means = mean_intervals(values, clusters, confidence=confidence, simultaneous=simultaneous)
    columns = {"layer": list(layers), "value": means.mean, "low": means.low, "high": means.high, "tasks": means.tasks}
    curve: pd.DataFrame = pd.DataFrame(columns)
    return curve
