"""The layer from which one model's curve stays above another's."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from lightning_layerscope.transitions.curves import CompleteCurves
from lightning_layerscope.transitions.find import MIN_TASKS
from lightning_layerscope.transitions.samples import group_tasks, statistic_samples
from lightning_layerscope.transitions.shapes import Floats, Indices
from lightning_layerscope.transitions.signals import SignalCut
from lightning_layerscope.wording import count


def find_crossing(
    tuned: CompleteCurves,
    base: Floats,
    clusters: Sequence[Hashable] | None,
    resamples: int,
    confidence: float,
    seed: int,
) -> SignalCut:
    """The first layer from which the tuned model's median over tasks stays above the base model's.

    It is named where the median is not above before, and where all but the interval's tails of the resamples cross too.

    Args:
        tuned: Curves of the tuned model.
        base: Of the base model, the same tasks and layers.
        clusters: Of the tasks, before any was left out.
        resamples: Bootstrap samples.
        confidence: Of the interval.
        seed: Of the bootstrap.
    """
    name, layers, tasks = "crossing", tuned.layers, len(tuned.values)
    if tasks < MIN_TASKS or len(layers) < 2:
        return SignalCut.none(name, f"only {count(tasks, 'task')} and {count(len(layers), 'layer')}")
    kept = None if clusters is None else [label for label, keep in zip(clusters, tuned.tasks, strict=True) if keep]
    groups, _, _ = group_tasks(kept, tasks)

    def apart(both: Floats) -> Floats:
        return np.asarray(np.median(both[..., : len(layers)], axis=-2) - np.median(both[..., len(layers) :], axis=-2))

    both = np.concatenate([tuned.values, base], axis=1)
    samples = statistic_samples(both, groups, apart, resamples=resamples, confidence=confidence, seed=seed)
    at, drawn = int(_from_above(samples.curve[None])[0]), _from_above(samples.resampled)
    if at == len(layers):
        return SignalCut.none(name, "the tuned model is not above the base model at the last layer")
    if at == 0:
        return SignalCut.none(name, "the tuned model is above the base model from the first layer on")
    tail = (1 - confidence) / 2
    low = min(int(np.quantile(drawn, tail, method="lower")), at)
    high = max(int(np.quantile(drawn, 1 - tail, method="higher")), at)
    if high == len(layers) or low == 0:
        return SignalCut.none(
            name, "whether and where the tuned model crosses the base model differs between resamples"
        )
    start = layers[at]
    return SignalCut(name, start, None, (layers[low - 1] + 1, layers[high]), None, "it has a start only")


def _from_above(curves: Floats) -> Indices:
    """Index from which each curve ``(curves, layers)`` stays above 0; the number of layers where it never does."""
    below = curves[:, ::-1] <= 0
    return np.where(below.any(axis=1), curves.shape[1] - np.argmax(below, axis=1), 0).astype(np.int64)
