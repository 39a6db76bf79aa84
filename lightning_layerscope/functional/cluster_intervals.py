"""Intervals of a mean over tasks that come in clusters: per layer, and for the whole curve at once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_layerscope.functional.student import student_quantile

Floats = NDArray[np.float64]

MIN_CLUSTERS = 6
"""With fewer, the spread of the clusters' means is too little known; tasks are then taken as independent."""

MIN_TASKS = 8

DRAWS = 999


@dataclass(frozen=True)
class MeanIntervals:
    """A mean over tasks, per layer.

    Attributes:
        mean: ``(layers,)``, NaN where no task is defined.
        low: ``(layers,)``; NaN where fewer than two tasks are defined.
        high: ``(layers,)``.
        tasks: ``(layers,)``, number of defined tasks.
        by_cluster: Whether clusters were taken as the independent units.
    """

    mean: Floats
    low: Floats
    high: Floats
    tasks: NDArray[np.int64]
    by_cluster: bool


def mean_intervals(
    values: Any,
    clusters: Sequence[Hashable] | None = None,
    *,
    confidence: float = 0.9,
    simultaneous: bool = False,
    seed: int = 0,
) -> MeanIntervals:
    r"""Mean over tasks with an interval that says how far other tasks of this kind would put it.

    .. math:: \mathrm{se}^2 = \frac{C}{C - 1} \frac{1}{n^2} \sum_c \Big(\sum_{i \in c} (y_i - \bar y)\Big)^2,
              \qquad \bar y \pm t_{C - 1} \mathrm{se}

    Tasks of one cluster resemble each other, so that taking them as independent gives intervals that are too narrow.
    With fewer than 6 clusters, or none given, each task is its own cluster and this is the textbook's interval; it is
    then narrow where tasks do come in clusters, and below 8 tasks in any case.

    A band that is to hold the whole curve at once (``simultaneous``) takes, instead of Student's quantile, that of the
    largest studentised deviation over the layers, with the signs of the clusters' deviations flipped at random.

    Source: Liang and Zeger 1986; for the band, Cameron, Gelbach and Miller 2008 (wild cluster bootstrap).

    Args:
        values: ``(tasks, layers)``, NaN where undefined; undefined cells are left out.
        clusters: The cluster of each task.
        confidence: Nominal coverage, in (0, 1).
        simultaneous: Whether ``low`` and ``high`` are to hold at all layers at once.
        seed: Seed of the band's random signs.

    Raises:
        ValueError: For values that are not two-dimensional, another number of clusters than of tasks, or a confidence
            outside (0, 1).
    """
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2:
        raise ValueError(f"expected values of shape (tasks, layers), got {matrix.shape}")
    if clusters is not None and len(clusters) != len(matrix):
        raise ValueError(f"expected one cluster per task, got {len(clusters)} clusters for {len(matrix)} tasks")
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence between 0 and 1, got {confidence}")
    known = ~np.isnan(matrix)
    counts = known.sum(axis=0)
    mean = defined_mean(matrix)
    by_cluster = clusters is not None and MIN_CLUSTERS <= len(set(clusters)) < len(matrix)
    labels = list(clusters) if by_cluster and clusters is not None else list(range(len(matrix)))
    number = {label: position for position, label in enumerate(dict.fromkeys(labels))}
    member = np.zeros((len(number), len(matrix)))
    member[[number[label] for label in labels], np.arange(len(matrix))] = 1
    sums = member @ np.where(known, matrix - np.where(counts > 0, mean, 0), 0)
    sizes = member @ known
    stderr = _stderr(sums, sizes, counts)
    if simultaneous:
        half = _largest_deviation(sums, sizes, counts, stderr, confidence, seed) * stderr
    else:
        freedom = (sizes > 0).sum(axis=0) - 1
        quantiles = [student_quantile((1 + confidence) / 2, int(f)) if f > 0 else np.nan for f in freedom]
        half = np.asarray(quantiles) * stderr
    return MeanIntervals(mean, mean - half, mean + half, counts.astype(np.int64), by_cluster)


def defined_mean(values: Any, axis: int = 0) -> Floats:
    """Mean over one axis of the values that are not NaN; NaN where there are none."""
    array = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(array)
    count = known.sum(axis=axis)
    return np.where(count > 0, np.where(known, array, 0).sum(axis=axis) / np.maximum(count, 1), np.nan)


def narrow_note(tasks: int, clusters: int, by_cluster: bool) -> str:
    """What to say of an interval over few tasks or clusters; ``""`` where there are enough.

    Args:
        tasks: How many were averaged.
        clusters: How many they come from.
        by_cluster: Whether the interval takes clusters as the independent units.
    """
    if tasks < MIN_TASKS:
        return f"narrow: only {tasks} tasks"
    if not by_cluster and clusters < tasks:
        return f"narrow: {tasks} tasks in only {clusters} clusters were taken as independent"
    return ""


def _stderr(sums: Floats, sizes: Floats, counts: Floats) -> Floats:
    """Over the second last axis, clusters; NaN where fewer than two have a task."""
    present = (sizes > 0).sum(axis=0)
    factor = np.where(present > 1, present / np.maximum(present - 1, 1), np.nan)
    return np.asarray(np.sqrt(factor * np.square(sums).sum(axis=-2)) / np.maximum(counts, 1))


def _largest_deviation(
    sums: Floats, sizes: Floats, counts: Floats, stderr: Floats, confidence: float, seed: int
) -> float:
    """Quantile of the largest |t| over layers, under random signs of the clusters; NaN where no layer varies."""
    varies = np.isfinite(stderr) & (stderr > 0)
    if not varies.any():
        return float("nan")
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(DRAWS, len(sums)))
    sums, sizes, counts = sums[:, varies], sizes[:, varies], counts[varies]
    means = signs @ sums / counts
    flipped = signs[:, :, None] * sums - sizes * means[:, None]
    # Flips that leave a layer without any spread say nothing of it.
    spread = _stderr(flipped, sizes, counts)
    deviations = np.where(spread > 0, np.abs(means) / np.where(spread > 0, spread, 1), 0)
    return float(np.quantile(deviations.max(axis=1), confidence, method="higher"))
