"""The signals of a model in which a transition can show, each cut with the same method."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_layerscope.functional.diagnostics import DIRECT
from lightning_layerscope.transitions.crossing import find_crossing
from lightning_layerscope.transitions.curves import CompleteCurves, complete_curves
from lightning_layerscope.transitions.detection import MIN_LAYERS
from lightning_layerscope.transitions.find import transition_of
from lightning_layerscope.transitions.samples import Bootstrap, Statistic
from lightning_layerscope.transitions.shapes import Floats
from lightning_layerscope.transitions.signals import SignalCut, SignalTable
from lightning_layerscope.wording import count

if TYPE_CHECKING:
    from lightning_layerscope.profiles import LayerProfile

COMPONENTS = "components_99"
"""What a profile calls the number of components for 99 % of the variance."""

PROMPTS_PER_COMPONENT = 2
"""Components for 99 % of the variance are bounded by the prompts: fewer than this many per component, and they say how
many prompts there were."""


MOST_LEFT = 0.11
"""Largest share of what repeats between halves of the tasks that a signal's shape may leave. Medians and quartiles are
rougher than means; what a single signal then names by chance, the others do not."""


def median(values: Floats) -> Floats:
    """Over tasks, ``(..., tasks, layers)``."""
    return np.asarray(np.median(values, axis=-2))


def spread(values: Floats) -> Floats:
    """Distance of the quartiles over tasks, ``(..., tasks, layers)``."""
    low, high = np.quantile(values, [0.25, 0.75], axis=-2)
    return np.asarray(high - low)


def find_signals(
    tuned: LayerProfile | Any,
    base: LayerProfile | Any | None = None,
    *,
    components: Any | None = None,
    prompts: Mapping[str, int] | Sequence[int] | int | None = None,
    neighbours: Any | None = None,
    measure: str | None = None,
    step: int | None = None,
    clusters: Sequence[Hashable] | None = None,
    layers: Sequence[int] | None = None,
    resamples: int = 200,
    confidence: float = 0.9,
    seed: int = 0,
) -> SignalTable:
    """Cut several signals of one model, because they need not change in the same layers.

    ``median`` and ``spread`` (distance of the quartiles) over tasks need the similarity of the model alone.
    ``components`` is cut where the tuned model's profile holds their number or they are given. A live run has these
    three, and ``neighbours`` with its layer matrices. ``tuned - base`` (median over tasks) and ``crossing`` (the first
    layer from which the tuned model's median stays above the base model's; a start only) need both models against the
    same controls, which a live run has not.

    Args:
        tuned: Similarity per task and layer: a profile, or an array ``(tasks, layers)``.
        base: The same of the base model, tasks and layers alike.
        components: Number of principal components for 99 % of the variance, ``(tasks, layers)``; by default those of
            the profile, where it has them.
        prompts: Of each task, by name or in order, or of all; needed beside ``components``, known to a profile.
        neighbours: Similarity of each layer with the one before, ``(tasks, layers)``, NaN for the first layer.
        measure: Which of the profiles' measures; their headline by default.
        step: Which of their steps; the last by default.
        clusters: Of the tasks of an array; a profile has its own.
        layers: Layer numbers of an array's columns; ``1..L`` by default.
        resamples: Bootstrap samples of each signal.
        confidence: Nominal coverage of the intervals.
        seed: Of the halvings and bootstraps.

    Raises:
        ValueError: For arrays that do not fit, or components without prompts.
    """
    if layers is None and hasattr(tuned, "layers"):
        layers = tuned.layers
    values, labels = _curves(tuned, measure, step, clusters)
    numbers = tuple(range(1, values.shape[1] + 1)) if layers is None else tuple(layers)
    bootstrap = Bootstrap(resamples, confidence, seed)

    def cut(name: str, matrix: Any, statistic: Statistic | None) -> SignalCut:
        curves = complete_curves(_fitting(matrix, values.shape, name), numbers)
        transition = transition_of(curves, name, bootstrap, clusters=labels, statistic=statistic, most_left=MOST_LEFT)
        return SignalCut.of(name, transition)

    cuts = [cut("median", values, median), cut("spread", values, spread)]
    if base is not None:
        other = _fitting(_curves(base, measure, step, clusters)[0], values.shape, "base")
        cuts.append(cut("tuned - base", values - other, median))
        both = _complete(values, other, numbers)
        cuts.append(find_crossing(both[0], both[1].values, labels, resamples, confidence, seed))
    if components is None:
        components, prompts = _own_components(tuned, step)
    if components is not None:
        few = _too_few_prompts(components, prompts, tuned)
        cuts.append(SignalCut.none("components", few) if few else cut("components", components, median))
    if neighbours is not None:
        pairs = int(np.isfinite(_fitting(neighbours, values.shape, "neighbours")).any(axis=0).sum())
        few = "" if pairs >= MIN_LAYERS else f"only {count(pairs, 'pair')} of layers, at least {MIN_LAYERS} needed"
        cuts.append(SignalCut.none("neighbours", few) if few else cut("neighbours", neighbours, median))
    return SignalTable(tuple(cuts), tuple(n for n in numbers if n > 0), confidence, len(values))


def _curves(
    profile: Any, measure: str | None, step: int | None, clusters: Sequence[Hashable] | None
) -> tuple[Floats, Sequence[Hashable] | None]:
    if hasattr(profile, "matrix") and hasattr(profile, "clusters"):
        return profile.matrix(measure, step), [profile.clusters[task] for task in profile.tasks]
    values = np.asarray(profile, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"expected curves of shape (tasks, layers), got {values.shape}")
    return values, clusters


def _own_components(profile: Any, step: int | None) -> tuple[Floats | None, list[int]]:
    """The components that a profile holds, and of how many prompts of each task; None where it holds none."""
    if COMPONENTS not in getattr(profile, "measures", ()) or not profile.meta.examples:
        return None, []
    counts = profile.meta.examples
    return profile.matrix(COMPONENTS, step), [min(counts[task], DIRECT) for task in profile.tasks]


def _complete(one: Floats, two: Floats, numbers: Sequence[int]) -> tuple[CompleteCurves, CompleteCurves]:
    """Both matrices over the tasks and layers that both have."""
    undefined = np.isnan(one) | np.isnan(two)
    first, second = (complete_curves(np.where(undefined, np.nan, values), numbers) for values in (one, two))
    return first, second


def _fitting(matrix: Any, shape: tuple[int, ...], name: str) -> Floats:
    values = np.asarray(matrix, dtype=np.float64)
    if values.shape != shape:
        raise ValueError(f"expected {name} of shape {shape} (tasks, layers) like the tuned model's, got {values.shape}")
    return values


def _too_few_prompts(components: Any, prompts: Any, tuned: Any) -> str:
    """Why the number of components says nothing; ``""`` where it does."""
    if prompts is None:
        raise ValueError("expected the number of prompts per task beside `components`; pass `prompts=`")
    counts = [prompts[task] for task in tuned.tasks] if isinstance(prompts, Mapping) else prompts
    matrix = np.asarray(components, dtype=np.float64)
    known = matrix[:, ~np.isnan(matrix).all(axis=0)]
    needed = PROMPTS_PER_COMPONENT * np.nanmedian(known, axis=0).max(initial=0)
    least = float(np.median(np.asarray(counts, dtype=np.float64)))
    return "" if least > needed else f"too few prompts: {least:.0f} in the middle task, more than {needed:.0f} needed"
