"""What a task's similarity goes with (figure 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lightning_layerscope._extras import require
from lightning_layerscope.functional.multiplicity import adjusted_pvalues

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Correlations:
    """Pearson correlations over tasks, and their two-sided p-values: covariate to role to (layers,)."""

    values: dict[str, dict[str, Array]]
    pvalues: dict[str, dict[str, Array]]

    @property
    def adjusted(self) -> dict[str, dict[str, Array]]:
        """The p-values adjusted together for their number (Benjamini and Hochberg)."""
        sides = [(name, role) for name, by_role in self.pvalues.items() for role in by_role]
        if not sides:
            return {}
        together = adjusted_pvalues(np.concatenate([self.pvalues[name][role] for name, role in sides]))
        parts = np.split(together, np.cumsum([len(self.pvalues[name][role]) for name, role in sides])[:-1])
        adjusted: dict[str, dict[str, Array]] = {}
        for (name, role), part in zip(sides, parts, strict=True):
            adjusted.setdefault(name, {})[role] = part
        return adjusted

    def rows(self, layers: Sequence[int]) -> pd.DataFrame:
        """One row per covariate, role and layer."""
        adjusted = self.adjusted
        rows = [
            (covariate, role, layer, value, pvalue, together)
            for covariate, by_role in self.values.items()
            for role, values in by_role.items()
            for layer, value, pvalue, together in zip(
                layers, values, self.pvalues[covariate][role], adjusted[covariate][role], strict=True
            )
        ]
        frame: pd.DataFrame = pd.DataFrame(
            rows, columns=["covariate", "role", "layer", "correlation", "pvalue", "adjusted_pvalue"]
        )
        return frame


def correlate(values: Mapping[str, Array], covariates: Mapping[str, Sequence[float]]) -> Correlations:
    """Pearson correlation over tasks of each layer's values with each covariate.

    Args:
        values: Role to values of shape (tasks, layers).
        covariates: Name to one number per task.

    Returns:
        NaN where fewer than three tasks have both numbers, or where one side does not vary.
    """
    stats = require("scipy.stats", extra="study")
    correlations: dict[str, dict[str, Array]] = {}
    pvalues: dict[str, dict[str, Array]] = {}
    for name, numbers in covariates.items():
        x = np.asarray(numbers, dtype=float)
        for role, matrix in values.items():
            pairs = [_pearson(stats, x, np.asarray(column, dtype=float)) for column in np.asarray(matrix).T]
            correlations.setdefault(name, {})[role] = np.asarray([pair[0] for pair in pairs])
            pvalues.setdefault(name, {})[role] = np.asarray([pair[1] for pair in pairs])
    return Correlations(correlations, pvalues)


def _pearson(stats: Any, x: Array, y: Array) -> tuple[float, float]:
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < 3 or np.ptp(x[both]) == 0 or np.ptp(y[both]) == 0:
        return float("nan"), float("nan")
    result = stats.pearsonr(x[both], y[both])
    return float(result.statistic), float(result.pvalue)
