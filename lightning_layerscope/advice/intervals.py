"""Paired differences with their interval over tasks and seeds together."""

from __future__ import annotations

import numpy as np

from lightning_layerscope.functional.interval import Interval
from lightning_layerscope.functional.row_intervals import Array, interval_of


def over_tasks_and_seeds(differences: Array, confidence: float = 0.9) -> Interval:
    r"""Mean of paired differences whose tasks and seeds are both drawn.

    .. math:: \mathrm{se}^2 = V_T + V_S - V_R, \qquad V_T = \frac{s^2(\bar d_{t \cdot})}{T}, \quad
              V_S = \frac{s^2(\bar d_{\cdot s})}{S}, \quad V_R = \frac{s^2(r_{ts})}{T S}

    with the residuals ``r`` of the additive model; never less than the larger of the first two. It says how far the
    mean would move with other tasks of this kind and other seeds. Degrees of freedom after Satterthwaite. Source:
    Searle, Casella and McCulloch 1992, "Variance components", section 4.3 (two-way crossed, no replication).

    Args:
        differences: ``(tasks, seeds)``.
        confidence: Nominal coverage of the interval.

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
        return interval_of(value, float(v_tasks + v_seeds), tasks * seeds - 1, confidence)
    residuals = differences - by_task[:, None] - by_seed + value
    v_rest = (residuals**2).sum() / ((tasks - 1) * (seeds - 1)) / (tasks * seeds)
    variance = float(max(v_tasks + v_seeds - v_rest, v_tasks, v_seeds))
    parts, freedoms = np.array([v_tasks, v_seeds, v_rest]), np.array([tasks - 1, seeds - 1, (tasks - 1) * (seeds - 1)])
    freedom = variance**2 / float((parts**2 / freedoms).sum()) if variance else float(tasks - 1)
    return interval_of(value, variance, max(min(freedom, tasks * seeds - 1), min(tasks, seeds) - 1), confidence)
