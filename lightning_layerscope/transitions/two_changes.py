"""The rival of every single transition: two changes, each a ramp or a step of its own, with a level between them."""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import numpy as np

from lightning_layerscope.transitions.families import ramps
from lightning_layerscope.transitions.shapes import Floats, Indices, orthonormal, project

GRID = 14
"""Layers among which the first search looks for all four ends; about a thousand combinations."""

ROUNDS = 2
"""How often each ramp is sought again given the other; further ones change next to nothing."""


class TwoChanges:
    """Curves of two ramps whose level between them is at least as long as both together.

    Two ramps closer than that are one change with a rounded or stepped slope. All pairs of ramps are too many, so the
    best on a coarse grid is refined: each ramp in turn is the best of all given the other.

    Args:
        layers: Layer numbers, increasing.
    """

    def __init__(self, layers: tuple[int, ...]) -> None:
        count = len(layers)
        positions = np.asarray(layers, dtype=np.float64)
        first, last = np.triu_indices(count, 1)
        self.first, self.last = first.astype(np.int64), last.astype(np.int64)
        self.bases = orthonormal(ramps(positions, self.first, self.last)[:, None])[:, 0]
        ends = np.unique(np.linspace(0, count - 1, min(count, GRID)).round().astype(np.int64)).tolist()
        grid = [pair for pair in combinations(ends, 4) if pair[2] - pair[1] >= pair[1] - pair[0] + pair[3] - pair[2]]
        number = np.zeros((count, count), dtype=np.int64)
        number[first, last] = np.arange(len(first))
        self.pairs = np.asarray([(number[a, b], number[c, d]) for a, b, c, d in grid], dtype=np.int64).reshape(-1, 2)
        self.grid = orthonormal(self.bases[self.pairs]) if grid else np.zeros((0, 2, count))

    def fit(self, curves: Floats) -> tuple[Floats, Indices, Indices]:
        """Fits of centred ``curves``, ``(curves, layers)``, and the numbers of both ramps of each."""
        energy = sum(np.square(self.grid[:, rank] @ curves.T) for rank in (0, 1))
        one, two = self.pairs[np.argmax(energy, axis=0)].T
        weights = self.bases @ curves.T
        for _ in range(ROUNDS):
            two = self._partner(one, weights)
            one = self._partner(two, weights)
        return project(orthonormal(self.bases[np.stack([one, two], axis=1)]), curves), one, two

    def _partner(self, known: Indices, weights: Floats) -> Indices:
        """The ramp that explains most beside the ``known`` one, per curve."""
        overlap = self.bases @ self.bases[known].T
        first, last = self.first[:, None], self.last[:, None]
        widths = (last - first) + (self.last[known] - self.first[known])
        apart = (first - self.last[known] >= widths) | (self.first[known] - last >= widths)
        left = 1 - np.square(overlap)
        gain = np.square(weights - overlap * weights[known, np.arange(len(known))]) / np.maximum(left, 1e-9)
        return np.asarray(np.argmax(np.where(apart & (left > 1e-9), gain, -1.0), axis=0), dtype=np.int64)

    def parts(self, curve: Floats) -> list[tuple[int, int]]:
        """Indices of the first and last layer of both changes of one centred curve, the earlier change first."""
        _, one, two = self.fit(curve[None])
        return sorted((int(self.first[ramp]) + 1, int(self.last[ramp])) for ramp in (one[0], two[0]))


def span(first: int, last: int, layers: tuple[int, ...]) -> str:
    """The layers between two indices, in words."""
    return f"{layers[first]}" if first == last else f"{layers[first]}-{layers[last]}"


@lru_cache(maxsize=8)
def two_changes(layers: tuple[int, ...]) -> TwoChanges | None:
    """The rival over the given layers; ``None`` where they are too few for two ramps and a level between them."""
    rival = TwoChanges(layers)
    return rival if len(rival.pairs) else None
