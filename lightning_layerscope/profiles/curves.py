"""From rows to matrices and mean curves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lightning_layerscope.functional.student import student_quantile

Floats = NDArray[np.float64]


def matrix(rows: pd.DataFrame, tasks: Sequence[str], layers: Sequence[int], column: str) -> Floats:
    """One column of the rows of one measure and step as ``(tasks, layers)``; NaN where there is no row.

    Raises:
        ValueError: if the rows hold one cell under several estimators.
    """
    if rows.duplicated(["task", "layer"]).any():
        found = rows["estimator"].unique().tolist()
        raise ValueError(f"expected one estimator per measure and step, got {found}; select the rows of one of them")
    row = {task: position for position, task in enumerate(tasks)}
    place = {layer: position for position, layer in enumerate(layers)}
    values = np.full((len(tasks), len(layers)), np.nan)
    values[rows["task"].map(row).to_numpy(), rows["layer"].map(place).to_numpy()] = rows[column].to_numpy()
    return values


def defined_mean(values: Floats) -> Floats:
    """Mean over the rows of ``(tasks, layers)`` that are not NaN; NaN where there are none."""
    count = (~np.isnan(values)).sum(axis=0)
    total = np.nansum(values, axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def mean_curve(values: Floats, layers: Sequence[int], confidence: float) -> pd.DataFrame:
    """Mean per layer with a Student t interval over the rows of ``(tasks, layers)``.

    Raises:
        ValueError: for a confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence between 0 and 1, got {confidence}")
    count = (~np.isnan(values)).sum(axis=0)
    mean = defined_mean(values)
    squares = np.nansum(np.square(values - mean), axis=0)
    half = np.full(len(mean), np.nan)
    for column in np.flatnonzero(count > 1):
        freedom = int(count[column]) - 1
        half[column] = student_quantile((1 + confidence) / 2, freedom) * math.sqrt(
            squares[column] / freedom / count[column]
        )
    columns = {"layer": list(layers), "value": mean, "low": mean - half, "high": mean + half, "tasks": count}
    curve: pd.DataFrame = pd.DataFrame(columns)
    return curve
