"""The shapes a curve over layers can have, as orthonormal bases, so that every candidate is fitted in one product.

Given where it bends, every shape is linear in its coefficients, and every shape contains the constant. So curves are
centred over layers first and a shape is what is left: a flat curve has no basis vector; a line, a step or a ramp have
one (their amplitude); two bends with free slopes have three. The least-squares fit of a candidate with basis ``U``
explains the energy ``|U y|^2`` of a centred curve ``y``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

TIE = 1e-12
"""Candidates can tie exactly on noise-free curves; rounding must not decide then, but their order."""


@dataclass(frozen=True)
class Shape:
    """All candidates of one shape.

    Attributes:
        name: What the shape is called in results.
        bases: ``(candidates, rank, layers)``, orthonormal rows, each orthogonal to the constant.
        starts: Per candidate the index of the first layer of its transition; -1 where the shape has none.
        ends: Per candidate the index of the last layer of its transition; -1 where the shape has none.
        jumps: ``(2, candidates, rank)``: what the coefficients make of the curve's jumps into and out of the
            transition. Where given, fits whose two jumps differ in sign do not count: the middle must lie between.
        free_slopes: Whether the parts outside the transition may be tilted.
    """

    name: str
    bases: Floats
    starts: Indices
    ends: Indices
    jumps: Floats | None = None
    free_slopes: bool = False

    @property
    def has_transition(self) -> bool:
        """Whether the shape separates three parts."""
        return bool(self.starts[0] >= 0)

    def best(self, curves: Floats) -> Indices:
        """Index of the candidate with the least squared error, per curve ``(curves, layers)`` centred over layers."""
        weights = [self.bases[:, rank] @ curves.T for rank in range(self.bases.shape[1])]
        energy = np.sum([np.square(weight) for weight in weights], axis=0)
        if self.jumps is not None:
            into, out = (
                sum(jump[:, rank, None] * weights[rank] for rank in range(len(weights))) for jump in self.jumps
            )
            energy = np.where(into * out >= 0, energy, -1.0)
        return np.asarray(np.argmax(energy >= energy.max(axis=0) * (1 - TIE), axis=0), dtype=np.int64)

    def predict(self, chosen: Indices, curves: Floats) -> Floats:
        """Projections of centred ``curves`` on their ``chosen`` candidates, ``(curves, layers)``."""
        return project(self.bases[chosen], curves)

    def fit(self, curves: Floats) -> Floats:
        """The least-squares fits of centred ``curves``, ``(curves, layers)``."""
        return self.predict(self.best(curves), curves)


def project(bases: Floats, curves: Floats) -> Floats:
    """Projection of each centred curve ``(curves, layers)`` on its own basis ``(curves, rank, layers)``."""
    weights = np.einsum("crl,cl->cr", bases, curves)
    return np.asarray(np.einsum("cr,crl->cl", weights, bases))


def centre(curves: Floats) -> Floats:
    """Curves ``(curves, layers)`` less their mean over layers."""
    return np.asarray(curves - curves.mean(axis=1, keepdims=True))


def orthonormal(functions: Floats) -> Floats:
    """Bases ``(candidates, rank, layers)`` of the spans of ``functions`` (same shape) less the constant."""
    rest = functions - functions.mean(axis=-1, keepdims=True)
    rows: list[Floats] = []
    for rank in range(rest.shape[1]):
        row = rest[:, rank]
        # Twice, because neighbouring bends are nearly collinear.
        for known in rows * 2:
            row = row - (row * known).sum(axis=-1, keepdims=True) * known
        rows.append(row / np.linalg.norm(row, axis=-1, keepdims=True))
    return np.stack(rows, axis=1)
