"""Mean over tasks of the mean over their rows: how far other rows of the same tasks would put it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_layerscope.functional.interval import Interval
from lightning_layerscope.functional.student import student_quantile

Array = NDArray[np.float64]


def over_rows(groups: Sequence[Array], confidence: float = 0.9) -> Interval:
    r"""Mean over groups of the mean over their rows, with the interval of a stratified sample.

    .. math:: \bar d = \frac{1}{T} \sum_t \bar d_t, \qquad
              \mathrm{se}^2 = \frac{1}{T^2} \sum_t \frac{s_t^2}{n_t}

    The groups (tasks) are these and no others; rows are drawn. Degrees of freedom after Welch and Satterthwaite.
    Source: Cochran 1977, "Sampling techniques", section 5.3.

    Args:
        groups: Paired differences of each group's rows, at least 2 rows each.
        confidence: Nominal coverage of the interval.

    Raises:
        ValueError: For no groups, or a group with fewer than two rows.
    """
    if not groups or min(len(rows) for rows in groups) < 2:
        raise ValueError(f"expected groups of at least 2 rows, got {[len(rows) for rows in groups]}.")
    parts = np.array([rows.var(ddof=1) / len(rows) for rows in groups]) / len(groups) ** 2
    value = float(np.mean([rows.mean() for rows in groups]))
    freedom = satterthwaite(parts, np.array([len(rows) - 1 for rows in groups]))
    return interval_of(value, float(parts.sum()), freedom, confidence)


def satterthwaite(parts: Array, freedoms: Array) -> float:
    """Degrees of freedom of a sum of variances that were each estimated (Satterthwaite 1946)."""
    total = float(parts.sum())
    return total**2 / float((parts**2 / freedoms).sum()) if total else float(freedoms.sum())


def interval_of(value: float, variance: float, freedom: float, confidence: float) -> Interval:
    """A value with Student's interval; NaN ends without a degree of freedom."""
    if freedom < 1:
        return Interval(value, math.nan, math.nan)
    half = student_quantile((1 + confidence) / 2, freedom) * math.sqrt(variance)
    return Interval.around(value, half)
