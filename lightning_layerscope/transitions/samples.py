"""A curve over layers with its halvings and its bootstrap samples, both by groups of tasks."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lightning_layerscope.functional.student import cluster_widening
from lightning_layerscope.transitions.shapes import Floats, Indices
from lightning_layerscope.wording import count

MIN_CLUSTERS = 6
"""With fewer clusters their halves and resamples say little; tasks are halved and resampled instead."""

SPLITS = 64

Statistic = Callable[[Floats], Floats]
"""From the curves of some tasks ``(..., tasks, layers)`` to one curve ``(..., layers)``."""


class Bootstrap(NamedTuple):
    """How curves are resampled.

    Attributes:
        resamples: Number of bootstrap samples.
        confidence: Nominal coverage of the intervals.
        seed: Of the halvings; the bootstrap uses the next one.
    """

    resamples: int
    confidence: float
    seed: int


@dataclass(frozen=True)
class CurveSamples:
    """What a transition is found in.

    Attributes:
        curve: ``(layers,)``, over all tasks.
        one: ``(splits, layers)``, over one random half of the groups.
        two: ``(splits, layers)``, over the other half; rows belong to those of ``one``.
        resampled: ``(resamples, layers)``, over groups drawn with replacement, widened for their small number.
    """

    curve: Floats
    one: Floats
    two: Floats
    resampled: Floats


def group_tasks(labels: Sequence[Hashable] | None, tasks: int) -> tuple[Indices, int, tuple[str, ...]]:
    """Number of the group of each task, 0-based; the number of clusters used (0 where tasks stand alone); notes.

    Args:
        labels: The cluster of each task; ``None`` where tasks are independent.
        tasks: How many there are.
    """
    alone = np.arange(tasks, dtype=np.int64)
    if labels is None:
        return alone, 0, ()
    number: dict[Hashable, int] = {}
    groups = np.asarray([number.setdefault(label, len(number)) for label in labels], dtype=np.int64)
    if len(number) == tasks:
        return alone, 0, ()
    if len(number) < MIN_CLUSTERS:
        note = (
            f"only {count(len(number), 'cluster')}, so that tasks were halved and resampled: the intervals are narrow"
        )
        return alone, 0, (note,)
    return groups, len(number), ()


def mean_samples(values: Floats, groups: Indices, *, resamples: int, confidence: float, seed: int) -> CurveSamples:
    """Samples of the mean over tasks, all in three products.

    Args:
        values: ``(tasks, layers)``, complete.
        groups: ``(tasks,)``, the group of each.
        resamples: Number of bootstrap samples.
        confidence: Of the intervals that the samples are for.
        seed: Of the halvings; the bootstrap uses the next one.
    """
    counts = np.bincount(groups).astype(np.float64)
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, groups, values)
    member = _halvings(len(counts), seed).astype(np.float64)
    drawn = _draws(len(counts), resamples, seed)
    one, two, resampled = ((weights @ sums) / (weights @ counts)[:, None] for weights in (member, 1 - member, drawn))
    return _widened(CurveSamples(values.mean(axis=0), one, two, resampled), len(counts), confidence)


def statistic_samples(
    values: Floats, groups: Indices, statistic: Statistic, *, resamples: int, confidence: float, seed: int
) -> CurveSamples:
    """As :func:`mean_samples` for any statistic over tasks, for instance their median."""
    count = int(groups.max()) + 1
    rows = [np.flatnonzero(groups == group) for group in range(count)]
    member = _halvings(count, seed)[:, groups]
    drawn = [np.concatenate([rows[g] for g in np.repeat(np.arange(count), w)]) for w in _draws(count, resamples, seed)]
    samples = CurveSamples(
        statistic(values),
        np.stack([statistic(values[half]) for half in member]),
        np.stack([statistic(values[~half]) for half in member]),
        np.stack([statistic(values[some]) for some in drawn]),
    )
    return _widened(samples, count, confidence)


def _halvings(groups: int, seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    order = np.argsort(np.random.default_rng(seed).random((SPLITS, groups)), axis=1)
    member = np.zeros((SPLITS, groups), dtype=bool)
    np.put_along_axis(member, order[:, : groups // 2], True, axis=1)
    return member


def _draws(groups: int, resamples: int, seed: int) -> Indices:
    return np.random.default_rng(seed + 1).multinomial(groups, np.full(groups, 1 / groups), size=resamples)


def _widened(samples: CurveSamples, groups: int, confidence: float) -> CurveSamples:
    """A bootstrap of few groups is too narrow by sqrt((C-1)/C), and normal where Student's t has heavier tails."""
    spread = cluster_widening(groups, confidence) * (samples.resampled - samples.curve)
    return CurveSamples(samples.curve, samples.one, samples.two, samples.curve + spread)
