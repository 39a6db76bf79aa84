"""The shapes a curve over layers can have, as orthonormal bases, so that every candidate is fitted in one product.

Every shape contains the constant, so curves are centred over layers first and a shape is what is left: a flat curve has
no basis vector; a line, a step or a ramp have one (their amplitude); three levels have two. The least-squares fit of a
candidate with basis ``U`` explains the energy ``|U y|^2`` of a centred curve ``y``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MIN_FLAT = 2
"""A flat part has at least this many layers: one layer alone is level with itself."""


@dataclass(frozen=True)
class Shape:
    """All candidates of one shape.

    Attributes:
        name: what the shape is called in results.
        bases: ``(candidates, rank, layers)``, orthonormal rows, each orthogonal to the constant.
        starts: per candidate the index of the first layer of its transition; -1 where the shape has none.
        ends: per candidate the index of the last layer of its transition; -1 where the shape has none.
    """

    name: str
    bases: Floats
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    def best(self, curves: Floats) -> NDArray[np.int64]:
        """Index of the candidate with the least squared error, per curve ``(curves, layers)`` centred over layers."""
        energy = np.zeros((len(self.bases), len(curves)))
        for rank in range(self.bases.shape[1]):
            energy += np.square(self.bases[:, rank] @ curves.T)
        # Candidates can tie exactly on noise-free curves; rounding must not decide then.
        level = energy.max(axis=0)
        return np.asarray(np.argmax(energy >= level * (1 - 1e-12), axis=0), dtype=np.int64)

    def predict(self, chosen: NDArray[np.int64], curves: Floats) -> Floats:
        """Projections of centred ``curves`` on their ``chosen`` candidates, ``(curves, layers)``."""
        bases = self.bases[chosen]
        weights = np.einsum("crl,cl->cr", bases, curves)
        return np.asarray(np.einsum("cr,crl->cl", weights, bases))


def _unit(shape: Floats) -> Floats:
    centred = shape - shape.mean(axis=-1, keepdims=True)
    return np.asarray(centred / np.linalg.norm(centred, axis=-1, keepdims=True))


def _ramps(positions: Floats, first: NDArray[np.int64], last: NDArray[np.int64]) -> Floats:
    """Rises from 0 at layer index ``first`` to 1 at ``last``; flat outside. ``(candidates, 1, layers)``."""
    left, right = positions[first][:, None], positions[last][:, None]
    return _unit(np.clip((positions - left) / (right - left), 0.0, 1.0))[:, None, :]


def _three_levels(count: int, second: NDArray[np.int64], third: NDArray[np.int64]) -> Floats:
    """Bases of the piecewise constant curves that change at indices ``second`` and ``third``."""
    index = np.arange(count)
    after = (index >= second[:, None]).astype(float)
    late = (index >= third[:, None]).astype(float)
    one = _unit(after)
    late -= late.mean(axis=1, keepdims=True)
    late -= (late * one).sum(axis=1, keepdims=True) * one
    return np.stack([one, late / np.linalg.norm(late, axis=1, keepdims=True)], axis=1)


@lru_cache(maxsize=32)
def shapes(layers: tuple[int, ...]) -> tuple[Shape, ...]:
    """All shapes over the given layers, simplest first.

    A transition holds the blocks that move the curve: a ramp that leaves its first level after layer ``i`` and reaches
    its second at layer ``j`` has its transition at ``i + 1 .. j``, a step between ``i`` and ``i + 1`` has it at
    ``i + 1`` alone; of three levels it is the middle one. Both flat parts keep at least two layers.
    """
    count = len(layers)
    positions = np.asarray(layers, dtype=np.float64)
    none = np.full(1, -1, dtype=np.int64)
    origin, final = np.zeros(1, dtype=np.int64), np.full(1, count - 1, dtype=np.int64)
    knots = np.arange(1, count - 1, dtype=np.int64)
    gone = np.full(len(knots), -1, dtype=np.int64)
    zeros = np.zeros_like(knots)
    steps = np.arange(MIN_FLAT, count - MIN_FLAT + 1, dtype=np.int64)
    pairs = [(i, j) for i in range(MIN_FLAT - 1, count) for j in range(i + 1, count - MIN_FLAT + 1)]
    first, last = (np.asarray([pair[side] for pair in pairs], dtype=np.int64) for side in (0, 1))
    wide = last - first > 1
    levels = [(i, j) for i in range(MIN_FLAT, count) for j in range(i + 1, count - MIN_FLAT + 1)]
    second, third = (np.asarray([pair[side] for pair in levels], dtype=np.int64) for side in (0, 1))
    found = [
        Shape("flat", np.zeros((1, 1, count)), none, none),
        Shape("line", _ramps(positions, origin, final), none, none),
        Shape("step", _ramps(positions, steps - 1, steps), steps, steps),
        Shape("flat at the end", _ramps(positions, zeros, knots), gone, gone),
        Shape("flat at the start", _ramps(positions, knots, zeros + count - 1), gone, gone),
        Shape("ramp", _ramps(positions, first[wide], last[wide]), first[wide] + 1, last[wide]),
        Shape("three levels", _three_levels(count, second, third), second, third - 1),
    ]
    return tuple(shape for shape in found if len(shape.bases))
