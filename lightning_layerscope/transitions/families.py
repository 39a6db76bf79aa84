"""The families of shapes that a curve is compared with, simplest first."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lightning_layerscope.transitions.shapes import Floats, Indices, Shape, orthonormal

MIN_FLAT = 2
"""A level part has at least this many layers: one layer alone is level with itself."""

MIN_SLOPED = 3
"""A tilted part, or a level one beside a tilted one, has at least this many: a line through two says nothing."""

SOFT_EDGE = 3
"""Layers over which a step is smeared where tasks take it one layer earlier or later than one another."""

SOFT_MIDDLE = (5, 8)
"""Layers between two smeared steps: with more, they are two changes; with fewer, the middle is no level."""

MIN_LAYERS_SOFT = 24
"""With fewer layers, two smeared steps are most of the curve and fit any ramp."""


@lru_cache(maxsize=8)
def shapes(layers: tuple[int, ...]) -> tuple[Shape, ...]:
    """All shapes over the given layers, simplest first.

    A transition holds the blocks that move the curve: a ramp that leaves its first level after layer ``i`` and reaches
    its second at layer ``j`` has its transition at ``i + 1 .. j``, a step between ``i`` and ``i + 1`` has it at
    ``i + 1`` alone; of three levels it is the middle one, of two bends what lies between them.
    """
    count = len(layers)
    positions = np.asarray(layers, dtype=np.float64)
    origin, final = np.zeros(1, dtype=np.int64), np.full(1, count - 1, dtype=np.int64)
    steps = np.arange(MIN_FLAT, count - MIN_FLAT + 1, dtype=np.int64)
    knots = np.arange(MIN_SLOPED - 1, count - MIN_SLOPED + 1, dtype=np.int64)

    first, last = _pairs(MIN_FLAT - 1, count - MIN_FLAT, 2)
    one, two = _pairs(MIN_SLOPED - 1, count - MIN_SLOPED, 1)
    every = [
        _without("flat", np.zeros((1, 1, count))),
        _without("line", ramps(positions, origin, final)[:, None]),
        Shape("step", orthonormal(ramps(positions, steps - 1, steps)[:, None]), steps, steps),
        _without("flat at the end", ramps(positions, 0 * knots, knots)[:, None]),
        _without("flat at the start", ramps(positions, knots, 0 * knots + count - 1)[:, None]),
        Shape("ramp", orthonormal(ramps(positions, first, last)[:, None]), first + 1, last),
        _without("one bend", np.stack([_line(positions, knots), _hinges(positions, knots)], axis=1)),
        _three_levels(count),
        Shape(
            "ramp on a line",
            orthonormal(np.stack([_line(positions, one), ramps(positions, one, two)], axis=1)),
            one + 1,
            two,
            free_slopes=True,
        ),
        Shape(
            "two bends",
            orthonormal(
                np.stack([_line(positions, one), _hinges(positions, one), _hinges(positions, two)], axis=1),
            ),
            one + 1,
            two,
            free_slopes=True,
        ),
    ]
    return tuple(shape for shape in every if len(shape.bases))


def ramps(positions: Floats, first: Indices, last: Indices) -> Floats:
    """Rises from 0 at layer index ``first`` to 1 at ``last``; flat outside. ``(candidates, layers)``."""
    left, right = positions[first][:, None], positions[last][:, None]
    return np.asarray(np.clip((positions - left) / (right - left), 0.0, 1.0))


def _hinges(positions: Floats, knots: Indices) -> Floats:
    return np.asarray(np.clip(positions - positions[knots][:, None], 0.0, None))


def _line(positions: Floats, like: Indices) -> Floats:
    return np.broadcast_to(positions, (len(like), len(positions)))


def _without(name: str, functions: Floats) -> Shape:
    none = np.full(len(functions), -1, dtype=np.int64)
    return Shape(name, functions if name == "flat" else orthonormal(functions), none, none)


def _pairs(lowest: int, highest: int, apart: int) -> tuple[Indices, Indices]:
    """All ``lowest <= i``, ``i + apart <= j <= highest``."""
    first, last = np.triu_indices(max(highest - lowest + 1, 0), apart)
    return (first + lowest).astype(np.int64), (last + lowest).astype(np.int64)


def _three_levels(count: int) -> Shape:
    """Constant but for changes before the indices ``second`` and ``third``, sharp or smeared over some layers."""
    second, third = _pairs(MIN_FLAT, count - MIN_FLAT, 1)
    apart = third - second
    near = (apart >= SOFT_MIDDLE[0]) & (apart <= SOFT_MIDDLE[1]) & (count >= MIN_LAYERS_SOFT)
    parts = [(second, third, 1), (second[near], third[near], SOFT_EDGE)]
    functions = [np.stack([_edges(count, at, width) for at in (left, right)], axis=1) for left, right, width in parts]
    bases = orthonormal(np.concatenate(functions))
    starts, after = np.r_[second, second[near]], np.r_[third, third[near]]
    every = np.arange(len(bases))
    jumps = np.stack([bases[every, :, at] - bases[every, :, at - 1] for at in (starts, after)])
    return Shape("three levels", bases, starts, after - 1, jumps=jumps)


def _edges(count: int, at: Indices, width: int) -> Floats:
    """Rises from 0 to 1 over ``width`` intervals around the one that ends at index ``at``."""
    return np.asarray(np.clip((np.arange(count) - at[:, None] + (width + 1) / 2) / width, 0.0, 1.0))
