"""Which shape a curve has: each is fitted to one half of the groups of tasks and predicts the other half's curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lightning_layerscope.transitions.families import shapes
from lightning_layerscope.transitions.samples import CurveSamples
from lightning_layerscope.transitions.shapes import Floats, Shape, centre
from lightning_layerscope.transitions.two_changes import two_changes

NEARLY_BEST = 0.01
"""A simpler shape is taken where its error exceeds the least by at most this share."""

TWO_ARE_BETTER = 0.1
"""Two changes replace one where they predict better by at least this share..."""

TWO_SAY_MORE = 0.005
"""... or predict at least as well and describe this share more of what repeats between halves of the tasks, ..."""

CHANCE_SAYS = 0.07
"""... and no less than this share of one change's error: so much more two changes describe by chance in few tasks."""

TWO_MAY_BE = 0.1
"""Two changes may be there where they describe half of that more and their error is larger by at most this share."""

FREE_LAST = 1.5
"""How many ranks in the order of simplicity a last layer of its own costs."""

ROUNDING = 1e-24
"""Errors that differ by less are equal: that of a curve without noise is rounding alone."""

MIN_LAYERS_FREE = 12
"""With fewer layers the last is too much of the curve to be set aside."""


@dataclass(frozen=True)
class Choice:
    """The shape of a curve.

    Attributes:
        shape: What describes the curve best in tasks that it was not fitted to.
        free_last: Whether the last layer is left out of the shape, as it does not follow the curve.
        two_changes: Whether two changes describe the curve better than this one.
        maybe_two: Whether two changes describe it about as well, so that there may be a second.
        error: Mean squared error of prediction.
        flat_error: The same of no change.
        line_error: The same of an even change.
        left: Covariance between the two halves' residuals, as a share of the covariance between the halves' curves:
            what repeats across tasks and the shape does not describe. Infinite where nothing repeats.
        line_left: The same of a straight line.
    """

    shape: Shape
    free_last: bool
    two_changes: bool
    maybe_two: bool
    error: float
    flat_error: float
    line_error: float
    left: float
    line_left: float


def choose(samples: CurveSamples, layers: tuple[int, ...], allowed: Sequence[str] | None) -> Choice:
    """The simplest shape within 1 % of the least error.

    Noise that neighbouring layers share looks like structure to criteria that count layers (BIC); it does not repeat in
    other tasks, so it does not survive here.

    Args:
        samples: The curve and its halvings.
        layers: Layer numbers, increasing.
        allowed: Names of the shapes to choose from; all by default. A last layer of its own is considered only then.

    Raises:
        ValueError: For unknown shapes.
    """
    errors = {False: _errors(samples, layers, False)}
    if allowed is None and len(layers) >= MIN_LAYERS_FREE:
        errors[True] = _errors(samples, layers, True)
    candidates = [
        (rank + FREE_LAST * free, free, shape)
        for free in errors
        for rank, shape in enumerate(shapes(layers[: len(layers) - free]))
        if allowed is None or shape.name in allowed
    ]
    names = [shape.name for shape in shapes(layers)]
    if allowed is not None and (not candidates or set(allowed) - set(names)):
        raise ValueError(f"expected shapes among {names} for {len(layers)} layers, got {list(allowed)}")
    least = min(errors[free][shape.name] for _, free, shape in candidates)
    near = [each for each in candidates if errors[each[1]][each[2].name] <= least * (1 + NEARLY_BEST) + ROUNDING]
    _, free, shape = min(near, key=lambda each: each[0])
    error = errors[free][shape.name]
    one, two = (centre(half[:, : len(layers) - free]) for half in (samples.one, samples.two))
    line = next(each for each in shapes(layers[: len(layers) - free]) if each.name == "line")
    repeats = _repeated(one, two)
    left, line_left = (_repeated(one - each.fit(one), two - each.fit(two)) for each in (shape, line))
    replaced, maybe = False, False
    rival = two_changes(layers[: len(layers) - free])
    if rival is not None:
        fits = rival.fit(one)[0], rival.fit(two)[0]
        rival_error = _error(two, fits[0]) / 2 + _error(one, fits[1]) / 2 + _apart_error(samples, free) + ROUNDING
        says = left - _repeated(one - fits[0], two - fits[1])
        enough = max(TWO_SAY_MORE * repeats, CHANCE_SAYS * error)
        replaced = rival_error < error * (1 - TWO_ARE_BETTER) or (rival_error < error and says > enough)
        maybe = rival_error < error * (1 + TWO_MAY_BE) and says > enough / 2
    return Choice(
        shape,
        free,
        replaced,
        maybe,
        error,
        errors[free]["flat"],
        errors[free]["line"],
        left / repeats if repeats > 0 else np.inf,
        line_left / repeats if repeats > 0 else np.inf,
    )


def _errors(samples: CurveSamples, layers: tuple[int, ...], free_last: bool) -> dict[str, float]:
    """Mean squared error with which each shape, fitted to one half, predicts the other; each half in both roles."""
    count = len(layers) - free_last
    fitted, unseen = (np.concatenate(pair) for pair in ((samples.one, samples.two), (samples.two, samples.one)))
    # Every shape holds the constant, so a difference in level between the halves costs all of them the same.
    fitted, unseen = centre(fitted[:, :count]), centre(unseen[:, :count])
    apart = _apart_error(samples, free_last)
    return {shape.name: _error(unseen, shape.fit(fitted)) + apart for shape in shapes(layers[:count])}


def _repeated(one: Floats, two: Floats) -> float:
    """Covariance between both halves' curves, summed over layers: what repeats across tasks."""
    return float((one * two).sum(axis=1).mean())


def _error(unseen: Floats, predicted: Floats) -> float:
    return float(np.square(unseen - predicted).sum(axis=1).mean())


def _apart_error(samples: CurveSamples, free_last: bool) -> float:
    """What a free last layer adds to every error: one half's distance of that layer predicts the other's."""
    if not free_last:
        return 0.0
    count = samples.curve.size - 1
    one, two = (half[:, -1] - half[:, :-1].mean(axis=1) for half in (samples.one, samples.two))
    return float(np.square(one - two).mean() * count / (count + 1))
