"""Do two curves over layers rise and fall together? Rank correlation with an interval over tasks."""

from __future__ import annotations

import numpy as np

from lightning_layerscope._extras import require
from lightning_layerscope.functional.interval import Interval
from lightning_layerscope.functional.row_intervals import Array

LEAST_LAYERS = 3
"""With fewer, a rank correlation is +-1 whatever the curves are."""


def rank_correlation(one: Array, other: Array, confidence: float = 0.9, draws: int = 1000) -> Interval:
    """Spearman's correlation over layers of two curves, each the mean over the same units.

    The interval is a percentile bootstrap over the units (tasks, or tasks and seeds): it says how far the correlation
    moves with other tasks of this kind, not with other layers, of which a model has no others.

    Args:
        one: ``(units, layers)``.
        other: ``(units, layers)``.
        confidence: Nominal coverage of the interval.
        draws: Number of draws of the bootstrap, from a fixed seed.

    Returns:
        The correlation and its interval; NaN where a curve is constant or undefined, NaN ends for a single unit.

    Raises:
        ValueError: For shapes that differ, or fewer than 3 layers.
    """
    if one.shape != other.shape or one.ndim != 2 or one.shape[1] < LEAST_LAYERS:
        raise ValueError(f"expected two (units, layers >= 3), got shapes {one.shape} and {other.shape}.")
    known = ~(np.isnan(one).any(axis=0) | np.isnan(other).any(axis=0))
    value = _spearman(one[:, known].mean(axis=0), other[:, known].mean(axis=0))
    if len(one) < 2 or np.isnan(value):
        return Interval(value, float("nan"), float("nan"))
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(draws):
        units = generator.integers(len(one), size=len(one))
        drawn.append(_spearman(one[units][:, known].mean(axis=0), other[units][:, known].mean(axis=0)))
    low, high = np.nanquantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high))


def _spearman(x: Array, y: Array) -> float:
    if len(x) < LEAST_LAYERS or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(require("scipy.stats", "report").spearmanr(x, y).statistic)
