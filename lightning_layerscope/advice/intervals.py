"""Paired differences with their intervals, over rows and over tasks and seeds together."""

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
        confidence: Of the interval.

    Raises:
        ValueError: For no groups, or a group with fewer than two rows.
    """
    if not groups or min(len(rows) for rows in groups) < 2:
        raise ValueError(f"expected groups of at least 2 rows, got {[len(rows) for rows in groups]}.")
    parts = np.array([rows.var(ddof=1) / len(rows) for rows in groups]) / len(groups) ** 2
    value = float(np.mean([rows.mean() for rows in groups]))
    freedom = _satterthwaite(parts, np.array([len(rows) - 1 for rows in groups]))
    return _interval(value, float(parts.sum()), freedom, confidence)


def over_tasks_and_seeds(differences: Array, confidence: float = 0.9) -> Interval:
    r"""Mean of paired differences whose tasks and seeds are both drawn.

    .. math:: \mathrm{se}^2 = V_T + V_S - V_R, \qquad V_T = \frac{s^2(\bar d_{t \cdot})}{T}, \quad
              V_S = \frac{s^2(\bar d_{\cdot s})}{S}, \quad V_R = \frac{s^2(r_{ts})}{T S}

    with the residuals ``r`` of the additive model; never less than the larger of the first two. It says how far the
    mean would move with other tasks of this kind and other seeds. Degrees of freedom after Satterthwaite. Source:
    Searle, Casella and McCulloch 1992, "Variance components", section 4.3 (two-way crossed, no replication).

    Args:
        differences: ``(tasks, seeds)``.
        confidence: Of the interval.

    Returns:
        With one seed the tasks' interval alone, and the other way round; NaN ends for a single number.

    Raises:
        ValueError: For an empty array or one that is not two-dimensional.
    """
    if differences.ndim != 2 or not differences.size:
        raise ValueError(f"expected differences (tasks, seeds), got shape {differences.shape}.")
    tasks, seeds = differences.shape
    by_task, by_seed, value = differences.mean(axis=1), differences.mean(axis=0), float(differences.mean())
    v_tasks = by_task.var(ddof=1) / tasks if tasks > 1 else 0.0
    v_seeds = by_seed.var(ddof=1) / seeds if seeds > 1 else 0.0
    if tasks == 1 or seeds == 1:
        return _interval(value, float(v_tasks + v_seeds), tasks * seeds - 1, confidence)
    residuals = differences - by_task[:, None] - by_seed + value
    v_rest = (residuals**2).sum() / ((tasks - 1) * (seeds - 1)) / (tasks * seeds)
    variance = float(max(v_tasks + v_seeds - v_rest, v_tasks, v_seeds))
    parts, freedoms = np.array([v_tasks, v_seeds, v_rest]), np.array([tasks - 1, seeds - 1, (tasks - 1) * (seeds - 1)])
    freedom = variance**2 / float((parts**2 / freedoms).sum()) if variance else float(tasks - 1)
    return _interval(value, variance, max(min(freedom, tasks * seeds - 1), min(tasks, seeds) - 1), confidence)


def _satterthwaite(parts: Array, freedoms: Array) -> float:
    total = float(parts.sum())
    return total**2 / float((parts**2 / freedoms).sum()) if total else float(freedoms.sum())


def _interval(value: float, variance: float, freedom: float, confidence: float) -> Interval:
    if freedom < 1:
        return Interval(value, math.nan, math.nan)
    half = student_quantile((1 + confidence) / 2, freedom) * math.sqrt(variance)
    return Interval.around(value, half)
