"""Find the transition in curves over layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_layerscope.transitions.choice import choose, no_change_error, split_half_errors
from lightning_layerscope.transitions.curves import complete_curves, signal_name
from lightning_layerscope.transitions.shapes import MIN_FLAT, Floats, Shape, shapes
from lightning_layerscope.transitions.transition import Transition

if TYPE_CHECKING:
    from lightning_layerscope.profiles import LayerProfile

MIN_TASKS = 8
"""Below this the boundaries are off by more than a layer in a quarter of the trials or more: none is named."""

MIN_LAYERS = 2 * MIN_FLAT
"""Two flat parts need this many layers."""

SMALLEST_CHANGE = 1e-5
"""Curves that span less than this (relative to their size above 1) hold rounding, not change."""

SPLITS = 64

MOST_ERROR_LEFT = 0.5
"""A transition predicts the curve of unseen tasks with at most this share of the error that no change makes.

In flat curves a change wins by chance in 1 to 3 % of the trials, but then it hardly ever halves the error; over 60
tasks, planted changes of twice the noise per cell leave under a tenth of it.
"""

_REASONS = {
    "flat": "the curve is flat: no change over layers repeats across tasks",
    "line": "the curve changes evenly over all layers, so that no layer separates two parts",
    "flat at the end": "the curve changes from the first layer on: there is no shared part before the change",
    "flat at the start": "the curve changes until the last layer: there is no refinement part after the change",
}


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
    allowed: Sequence[str] | None = None,
) -> Transition:
    """Cut the layers into shared, transition and refinement, or say that the data do not.

    The mean curve over tasks is fitted by exhaustive least squares with every flat, straight, stepped, flat-ramp-flat,
    half-flat and three-level shape. Split-half cross-validation over tasks decides which of them it is; the intervals
    of the boundaries come from a bootstrap over tasks with that shape. Rising and falling curves are alike.

    On 60 simulated tasks with autocorrelated noise both boundaries are within one layer in at least 95 % of the trials
    up to a noise per task and layer of half the change; 8 tasks are the fewest with which a boundary is named at all.

    Args:
        profile: a :class:`~lightning_layerscope.LayerProfile`, or an array ``(tasks, layers)``, NaN where undefined.
        measure: which of the profile's measures; its headline by default.
        step: which of its steps; the last by default.
        signal: what is cut, in words; by default read from the profile ("drift from initial (cka)", ...). The result
            keeps it because other signals put the boundaries elsewhere.
        resamples: number of bootstrap samples.
        confidence: nominal coverage of the intervals.
        seed: of the halvings and the bootstrap.
        layers: layer numbers of an array's columns; ``1..L`` by default.
        allowed: restrict the choice to these shapes (see :attr:`Transition.shape`), e.g. ``["three levels"]``.

    Returns:
        The transition; ``found`` is false, with a ``reason``, where there is none.

    Raises:
        ValueError: for malformed curves, unknown shapes, or a confidence outside (0, 1).

    Examples:
        >>> import numpy as np
        >>> ramp = np.clip((np.arange(1, 13) - 4) / 3, 0, 1)
        >>> curves = 1 - 0.5 * ramp + 0.01 * np.random.default_rng(0).standard_normal((20, 12))
        >>> found = find_transitions(curves, signal="tuned against control")
        >>> found.start, found.end, found.refinement
        (5, 7, (8, 9, 10, 11, 12))
    """
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence between 0 and 1, got {confidence}")
    if resamples < 1:
        raise ValueError(f"expected at least one bootstrap sample, got resamples={resamples}")
    values, numbers, what = _read(profile, measure, step, signal, layers)
    curves, kept, notes = complete_curves(values, numbers)
    none = Transition(
        False, None, None, None, None, confidence, signal=what, reason="", layers=kept, tasks=len(curves), notes=notes
    )
    if len(kept) < MIN_LAYERS:
        return replace(none, reason=f"only {len(kept)} layers, at least {MIN_LAYERS} needed")
    if len(curves) < MIN_TASKS:
        return replace(none, reason=f"only {len(curves)} tasks, at least {MIN_TASKS} needed")
    mean = curves.mean(axis=0)
    if np.ptp(mean) <= SMALLEST_CHANGE * max(1.0, float(np.abs(mean).max())):
        return replace(none, reason="the curve is constant to within rounding", shape="flat")
    candidates = _candidates(kept, allowed)
    errors = split_half_errors(curves, candidates, splits=SPLITS, seed=seed)
    chosen = candidates[choose(errors)]
    # Against no change at all, also where `allowed` leaves that out.
    left = float(errors[candidates.index(chosen)].mean() / no_change_error(curves, splits=SPLITS, seed=seed))
    if chosen.name not in _REASONS and left > MOST_ERROR_LEFT:
        reason = (
            f"a change ({chosen.name}) repeats too little across tasks: it leaves {left:.0%} of a flat curve's error"
        )
        return replace(none, reason=reason, shape=chosen.name)
    if chosen.name in _REASONS:
        return replace(none, reason=_REASONS[chosen.name], shape=chosen.name)
    best = int(chosen.best((mean - mean.mean())[None])[0])
    first, last = int(chosen.starts[best]), int(chosen.ends[best])
    start_interval, end_interval = _intervals(curves, chosen, best, resamples, confidence, seed, kept)
    parts = (mean[:first], mean[first : last + 1], mean[last + 1 :])
    return replace(
        none,
        found=True,
        start=kept[first],
        end=kept[last],
        start_interval=start_interval,
        end_interval=end_interval,
        shape=chosen.name,
        levels=tuple(float(part.mean()) for part in parts),
    )


def _read(
    profile: Any, measure: str | None, step: int | None, signal: str | None, layers: Sequence[int] | None
) -> tuple[Any, Sequence[int], str]:
    if hasattr(profile, "matrix") and hasattr(profile, "meta"):
        if layers is not None:
            raise ValueError("expected no `layers` beside a profile, which has its own; leave the argument out")
        name = measure or profile.measure
        return profile.matrix(name, step), profile.layers, signal or signal_name(profile, name)
    if measure is not None or step is not None:
        raise ValueError(
            "expected a LayerProfile where `measure` or `step` is given, got an array; pass its rows alone"
        )
    values = np.asarray(profile, dtype=np.float64)
    count = values.shape[1] if values.ndim == 2 else 0
    return values, range(1, count + 1) if layers is None else layers, signal or "curves"


def _candidates(layers: tuple[int, ...], allowed: Sequence[str] | None) -> tuple[Shape, ...]:
    every = shapes(layers)
    if allowed is None:
        return every
    names = [shape.name for shape in every]
    unknown = sorted(set(allowed) - set(names))
    if unknown or not allowed:
        raise ValueError(f"expected shapes among {names} for {len(layers)} layers, got {list(allowed)}")
    return tuple(shape for shape in every if shape.name in allowed)


def _intervals(
    curves: Floats, shape: Shape, best: int, resamples: int, confidence: float, seed: int, layers: tuple[int, ...]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Percentiles over task resamples, widened where needed to hold the estimate itself."""
    tasks = len(curves)
    weights = np.random.default_rng(seed + 1).multinomial(tasks, np.full(tasks, 1 / tasks), size=resamples)
    means = weights @ curves / tasks
    drawn = shape.best(means - means.mean(axis=1, keepdims=True))
    tail = (1 - confidence) / 2
    found: list[tuple[int, int]] = []
    for boundaries in (shape.starts, shape.ends):
        low = np.quantile(boundaries[drawn], tail, method="lower")
        high = np.quantile(boundaries[drawn], 1 - tail, method="higher")
        found.append((layers[min(int(low), int(boundaries[best]))], layers[max(int(high), int(boundaries[best]))]))
    return found[0], found[1]
