"""Find the transition in curves over layers."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_layerscope.transitions.curves import CompleteCurves, complete_curves, signal_name
from lightning_layerscope.transitions.detection import MIN_LAYERS, MOST_REPEATED_LEFT, Detection, detect
from lightning_layerscope.transitions.samples import Bootstrap, Statistic, group_tasks, mean_samples, statistic_samples
from lightning_layerscope.transitions.transition import Transition
from lightning_layerscope.wording import count as counted

if TYPE_CHECKING:
    from lightning_layerscope.profiles import LayerProfile

MIN_TASKS = 8
"""Below this the boundaries are off by more than a layer in a quarter of the trials or more: none is named."""


def find_transitions(
    profile: LayerProfile | Any,
    *,
    measure: str | None = None,
    step: int | None = None,
    signal: str | None = None,
    resamples: int = 500,
    confidence: float = 0.9,
    seed: int = 0,
    layers: Sequence[int] | None = None,
    clusters: Sequence[Hashable] | None = None,
    allowed: Sequence[str] | None = None,
) -> Transition:
    """Cut the layers into shared, transition and refinement, or say that the data do not.

    The mean curve over tasks is fitted by exhaustive least squares with every flat, straight, stepped, flat-ramp-flat,
    half-flat, three-level and once or twice bent shape. Each is fitted to half of the task clusters and predicts the
    mean curve of the other half; the simplest within 1 % of the least error is taken. There is no transition where that
    shape has none, where two separate changes describe more of what repeats than one, or where the shape leaves more
    than 6 % of what repeats between the halves. Where two changes do about as well as one, a note says so. The
    intervals of the boundaries come from a bootstrap over clusters with that shape. Rising and falling curves are
    alike. How often it is right, and on which curves it is not, is measured by ``benchmarks/bench_transitions.py``.

    Args:
        profile: A :class:`~lightning_layerscope.LayerProfile`, or an array ``(tasks, layers)``, NaN where undefined.
        measure: Which of the profile's measures; its headline by default.
        step: Which of its steps; the last by default.
        signal: What is cut, in words; by default read from the profile ("drift from initial (cka)", ...). The result
            keeps it because other signals put the boundaries elsewhere.
        resamples: Number of bootstrap samples.
        confidence: Nominal coverage of the intervals.
        seed: Of the halvings and the bootstrap.
        layers: Layer numbers of an array's columns; ``1..L`` by default.
        clusters: Cluster of each row of an array; by default its tasks are independent. A profile has its own. With
            fewer than 6 clusters the tasks are halved and resampled instead, and the result says so.
        allowed: Names of the shapes to choose from; all by default.

    Returns:
        The transition; ``found`` is false, with a ``reason``, where there is none.

    Raises:
        ValueError: For malformed curves, unknown shapes, or a confidence outside (0, 1).

    Examples:
        >>> import numpy as np
        >>> ramp = np.clip((np.arange(1, 13) - 4) / 3, 0, 1)
        >>> curves = 1 - 0.5 * ramp + 0.01 * np.random.default_rng(0).standard_normal((20, 12))
        >>> found = find_transitions(curves, signal="tuned against control")
        >>> found.start, found.end, found.refinement
        (5, 7, (8, 9, 10, 11, 12))
    """
    values, numbers, what, labels = _read(profile, measure, step, signal, layers, clusters)
    return transition_of(
        complete_curves(values, numbers),
        what,
        Bootstrap(resamples, confidence, seed),
        clusters=labels,
        allowed=allowed,
    )


def transition_of(
    curves: CompleteCurves,
    signal: str,
    bootstrap: Bootstrap,
    *,
    clusters: Sequence[Hashable] | None,
    statistic: Statistic | None = None,
    most_left: float = MOST_REPEATED_LEFT,
    allowed: Sequence[str] | None = None,
) -> Transition:
    """The transition of one statistic over tasks.

    Args:
        curves: Of all tasks, complete.
        signal: What is cut, in words.
        bootstrap: How many samples the intervals come from, their coverage, and the seed.
        clusters: Cluster of each task before any was left out; ``None`` where tasks are independent.
        statistic: From tasks' curves to one; their mean by default.
        most_left: Largest share of what repeats between halves of the tasks that a shape may leave.
        allowed: Names of the shapes to choose from; all by default.

    Raises:
        ValueError: For unknown shapes, no resamples, or a confidence outside (0, 1).
    """
    confidence = bootstrap.confidence
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence between 0 and 1, got {confidence}")
    if bootstrap.resamples < 1:
        raise ValueError(f"expected at least one bootstrap sample, got resamples={bootstrap.resamples}")
    kept = None if clusters is None else [label for label, keep in zip(clusters, curves.tasks, strict=True) if keep]
    tasks = len(curves.values)
    groups, count, notes = group_tasks(kept, tasks)
    if len(curves.layers) < MIN_LAYERS:
        found = Detection(f"only {counted(len(curves.layers), 'layer')}, at least {MIN_LAYERS} needed")
    elif tasks < MIN_TASKS:
        found = Detection(f"only {counted(tasks, 'task')}, at least {MIN_TASKS} needed")
    else:
        samples = (
            mean_samples(curves.values, groups, **bootstrap._asdict())
            if statistic is None
            else statistic_samples(curves.values, groups, statistic, **bootstrap._asdict())
        )
        found = detect(samples, curves.layers, confidence=confidence, most_left=most_left, allowed=allowed)
    named = not found.reason
    parts = np.split(samples.curve, [found.first, found.last + 1]) if named else []
    if found.free_last:
        notes = (*notes, f"layer {curves.layers[-1]} does not follow the curve and was left out of the fit")
    if found.second:
        notes = (*notes, f"a second change at layer {found.second} may be there: two predict about as well as one")
    return Transition(
        found=named,
        start=curves.layers[found.first] if named else None,
        end=curves.layers[found.last] if named else None,
        start_interval=found.start_interval if named else None,
        end_interval=found.end_interval if named else None,
        confidence=confidence,
        signal=signal,
        reason=found.reason,
        layers=curves.layers,
        shape=found.shape,
        levels=tuple(float(part.mean()) for part in parts),
        tasks=tasks,
        clusters=count,
        notes=(*curves.notes, *notes),
    )


def _read(
    profile: Any,
    measure: str | None,
    step: int | None,
    signal: str | None,
    layers: Sequence[int] | None,
    clusters: Sequence[Hashable] | None,
) -> tuple[Any, Sequence[int], str, Sequence[Hashable] | None]:
    if hasattr(profile, "matrix") and hasattr(profile, "meta"):
        for name, given in (("layers", layers), ("clusters", clusters)):
            if given is not None:
                raise ValueError(f"expected no `{name}` beside a profile, which has its own; leave the argument out")
        name = measure or profile.measure
        labels = [profile.clusters[task] for task in profile.tasks]
        return profile.matrix(name, step), profile.layers, signal or signal_name(profile, name), labels
    if measure is not None or step is not None:
        raise ValueError(
            "expected a LayerProfile where `measure` or `step` is given, got an array; pass its rows alone"
        )
    values = np.asarray(profile, dtype=np.float64)
    count = values.shape[1] if values.ndim == 2 else 0
    if clusters is not None and len(clusters) != len(values):
        raise ValueError(f"expected one cluster per row, got {len(clusters)} clusters for {len(values)} rows")
    return values, range(1, count + 1) if layers is None else layers, signal or "curves", clusters
