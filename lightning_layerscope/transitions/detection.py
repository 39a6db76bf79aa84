"""From a curve with its samples to its transition, or to the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lightning_layerscope.transitions.choice import Choice, choose
from lightning_layerscope.transitions.families import MIN_FLAT
from lightning_layerscope.transitions.samples import CurveSamples
from lightning_layerscope.transitions.shapes import Floats, Indices, Shape, centre
from lightning_layerscope.transitions.two_changes import span, two_changes
from lightning_layerscope.wording import count

MIN_LAYERS = 2 * MIN_FLAT
"""Two flat parts need this many layers."""

SMALLEST_CHANGE = 1e-5
"""Curves that span less than this (relative to their size above 1) hold rounding, not change."""

MOST_ERROR_LEFT = 0.5
"""A transition predicts the curve of unseen tasks with at most this share of the error that no change makes.

In flat curves a change wins by chance in 1 to 3 % of the trials, but then it hardly ever halves the error; over 60
tasks, planted changes of twice the noise per cell leave under a tenth of it.
"""

MOST_OF_LINE_LEFT = 0.75
"""The same against an even change, for shapes whose outer parts may be tilted: on lines these win by chance."""

MOST_REPEATED_LEFT = 0.0625
"""Of what repeats between halves of the tasks, a shape leaves at most this share; curves that wander leave more."""

MOST_OF_LINE_REPEATED_LEFT = {False: 0.25, True: 0.15}
"""The same of what a straight line leaves, for shapes with level and with tilted outer parts: much of a curve that
wanders is a slope, which must not count, and tilted parts follow it best."""

_REASONS = {
    "flat": "the curve is flat: no change over layers repeats across tasks",
    "line": "the curve changes evenly over all layers, so that no layer separates two parts",
    "flat at the end": "the curve changes from the first layer on: there is no shared part before the change",
    "flat at the start": "the curve changes until the last layer: there is no refinement part after the change",
    "one bend": "the curve bends once, from one slope to another, and has no part between",
}


@dataclass(frozen=True)
class Detection:
    """A transition in positions among the measured layers and in layer numbers.

    Attributes:
        reason: Why there is none; ``""`` when one was found.
        shape: Name of the shape; ``""`` when not examined.
        first: Index of its first layer; -1 where there is none.
        last: Index of its last layer.
        start_interval: First and last plausible layer number of the start.
        end_interval: The same of the end.
        free_last: Whether the last layer does not follow the curve.
        second: Layers of a second change that may be there, in words; ``""`` where none may.
    """

    reason: str
    shape: str = ""
    first: int = -1
    last: int = -1
    start_interval: tuple[int, int] = (0, 0)
    end_interval: tuple[int, int] = (0, 0)
    free_last: bool = False
    second: str = ""


def detect(
    samples: CurveSamples,
    layers: tuple[int, ...],
    *,
    confidence: float,
    most_left: float = MOST_REPEATED_LEFT,
    allowed: Sequence[str] | None = None,
) -> Detection:
    """Find the transition of one curve.

    Args:
        samples: The curve over all tasks, over halves and over resamples of them.
        layers: Layer numbers, increasing.
        confidence: Nominal coverage of the intervals.
        most_left: Largest share of what repeats between halves of the tasks that the shape may leave.
        allowed: Names of the shapes to choose from; all by default.
    """
    if len(layers) < MIN_LAYERS:
        return Detection(f"only {count(len(layers), 'layer')}, at least {MIN_LAYERS} needed")
    if np.ptp(samples.curve) <= SMALLEST_CHANGE * max(1.0, float(np.abs(samples.curve).max())):
        return Detection("the curve is constant to within rounding", "flat")
    choice = choose(samples, layers, allowed)
    inner = layers[: len(layers) - choice.free_last]
    curve = centre(samples.curve[None, : len(inner)])
    best = int(choice.shape.best(curve)[0])
    reason = _against(choice, inner, curve, best, most_left)
    if reason:
        return Detection(reason, "two changes" if choice.two_changes else choice.shape.name)
    drawn = choice.shape.best(centre(samples.resampled[:, : len(inner)]))
    tail = (1 - confidence) / 2
    start, end = (_interval(side, drawn, best, tail, layers) for side in (choice.shape.starts, choice.shape.ends))
    found = Detection("", choice.shape.name, int(choice.shape.starts[best]), int(choice.shape.ends[best]), start, end)
    second = _second_change(inner, curve, found) if choice.maybe_two else ""
    return replace(found, free_last=choice.free_last, second=second)


def _second_change(layers: tuple[int, ...], curve: Floats, found: Detection) -> str:
    """Where the other of two changes lies, if one of them lies apart from what was found."""
    rival = two_changes(layers)
    apart = [] if rival is None else [part for part in rival.parts(curve[0]) if _apart(part, found)]
    return span(*apart[0], layers) if len(apart) == 1 else ""


def _apart(part: tuple[int, int], found: Detection) -> bool:
    return part[1] < found.first or part[0] > found.last


def _against(choice: Choice, layers: tuple[int, ...], curve: Floats, best: int, most_left: float) -> str:
    """Why the chosen shape names no transition; ``""`` where it does."""
    shape = choice.shape
    rival = two_changes(layers) if choice.two_changes else None
    if rival is not None:
        early, late = (span(*part, layers) for part in rival.parts(curve[0]))
        return f"the curve changes twice, at layers {early} and {late}, with a level between"
    if not shape.has_transition:
        return _REASONS[shape.name]
    if choice.left > min(most_left, MOST_OF_LINE_REPEATED_LEFT[shape.free_slopes] * choice.line_left):
        return (
            f"no shape describes the curve: the best ({shape.name}) leaves {choice.left:.0%} of what tasks share"
            if np.isfinite(choice.left)
            else f"a change ({shape.name}) repeats too little across tasks: their halves have no curve in common"
        )
    for error, limit, what in (
        (choice.flat_error, MOST_ERROR_LEFT, "a flat curve's"),
        (choice.line_error, MOST_OF_LINE_LEFT if shape.free_slopes else np.inf, "a straight line's"),
    ):
        if choice.error > limit * error:
            share = choice.error / error
            return f"a change ({shape.name}) repeats too little across tasks: it leaves {share:.0%} of {what} error"
    if shape.free_slopes and not _middle_is_the_change(shape, curve, best, layers):
        return "the curve changes gradually: it bends twice the same way, and no part is the change"
    return ""


def _middle_is_the_change(shape: Shape, curve: Floats, best: int, layers: tuple[int, ...]) -> bool:
    """Whether the slope between the bends is the largest or the smallest of the three."""
    fit = shape.predict(np.asarray([best], dtype=np.int64), curve)[0]
    slopes = np.diff(fit) / np.diff(layers)
    before, middle, after = slopes[0], slopes[shape.starts[best] - 1], slopes[-1]
    return bool(middle > max(before, after) or middle < min(before, after))


def _interval(side: Indices, drawn: Indices, best: int, tail: float, layers: tuple[int, ...]) -> tuple[int, int]:
    """Percentiles over resamples that hold the estimate, reaching over layers beside it that were not measured."""
    low = min(int(np.quantile(side[drawn], tail, method="lower")), int(side[best]))
    high = max(int(np.quantile(side[drawn], 1 - tail, method="higher")), int(side[best]))
    after = layers[high + 1] - 1 if high + 1 < len(layers) else layers[high]
    return layers[low - 1] + 1, after
