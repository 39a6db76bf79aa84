"""Representational similarity analysis: do two representations agree on which examples are far apart?"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lightning_layerscope.functional._cells import ROUNDING, nan_like, off_diagonal, over_cells, squared_distances
from lightning_layerscope.functional._checks import check_pair
from lightning_layerscope.functional.gram import gram_of

Dissimilarity = Literal["euclidean", "correlation"]
Correlation = Literal["spearman", "pearson"]


@torch.no_grad()
def rsa(
    x: Tensor, y: Tensor, correlation: Correlation = "spearman", dissimilarity: Dissimilarity = "euclidean"
) -> Tensor:
    r"""Correlation, over all pairs of examples, of the two matrices of dissimilarities.

    .. math:: \mathrm{RSA} = \mathrm{corr}\big(\{d_x(i, j)\}_{i<j}, \{d_y(i, j)\}_{i<j}\big)

    Source: Kriegeskorte, Mur and Bandettini 2008, "Representational similarity analysis". ``"spearman"`` (their
    recommendation; ties get their average rank) asks for the same order of the distances only, ``"pearson"`` for a
    linear relation.

    ``"euclidean"`` distances do not change under rotation of the width. ``"correlation"``, 1 - Pearson correlation
    across the width, is the one most used in neuroscience; it removes every example's own mean over dimensions and
    therefore does depend on the basis.

    Args:
        x: ``(examples, width_x)`` or ``(layers, examples, width_x)``.
        y: The same examples and layers, ``(..., examples, width_y)``.
        correlation: ``"spearman"`` or ``"pearson"``.
        dissimilarity: ``"euclidean"`` or ``"correlation"``.

    Returns:
        ``()`` or ``(layers,)`` in float64, in [-1, 1]; NaN where all dissimilarities of a side are equal or, for
        ``"correlation"``, where an example is constant over the width.

    Raises:
        ValueError: Shapes that do not match, fewer than three examples, non-finite values, or an unknown option.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
        >>> rsa(x, x**2).round(decimals=4), rsa(x, x**2, correlation="pearson").round(decimals=4)
        (tensor(1., dtype=torch.float64), tensor(0.9399, dtype=torch.float64))
    """
    check_pair(x, y, minimum=3)
    if correlation not in ("spearman", "pearson"):
        raise ValueError(f'rsa: expected `correlation` "spearman" or "pearson", got {correlation!r}.')
    if dissimilarity not in ("euclidean", "correlation"):
        raise ValueError(f'rsa: expected `dissimilarity` "euclidean" or "correlation", got {dissimilarity!r}.')

    def cell(a: Tensor, b: Tensor) -> Tensor:
        sides = [off_diagonal(_dissimilarities(side, dissimilarity)) for side in (a, b)]
        if correlation == "spearman":
            sides = [average_ranks(side) for side in sides]
        return _pearson(*sides)

    return over_cells(cell, x, y)


def average_ranks(values: Tensor) -> Tensor:
    """Ranks 1..n of a vector, equal values sharing the average of their ranks; any NaN makes all of them NaN."""
    if torch.isnan(values).any():
        return torch.full_like(values, torch.nan)
    _, inverse, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).to(values.dtype)
    ranks: Tensor = last - (counts.to(values.dtype) - 1) / 2
    return ranks[inverse]


def _dissimilarities(x: Tensor, kind: Dissimilarity) -> Tensor:
    if kind == "euclidean":
        return squared_distances(gram_of(x)).sqrt()
    within = x - x.mean(dim=-1, keepdim=True)
    lengths = within.norm(dim=-1, keepdim=True)
    lengths = lengths.masked_fill(lengths <= ROUNDING * x.norm(dim=-1, keepdim=True), torch.nan)
    directions = within / lengths
    cosines: Tensor = directions @ directions.mT
    return 1 - cosines


def _pearson(a: Tensor, b: Tensor) -> Tensor:
    sides = [side - side.mean() for side in (a, b)]
    if any(bool(moved.norm() <= ROUNDING * side.norm()) for moved, side in zip(sides, (a, b), strict=True)):
        return nan_like(a)
    correlation: Tensor = (sides[0] @ sides[1]) / (sides[0].norm() * sides[1].norm())
    return correlation
