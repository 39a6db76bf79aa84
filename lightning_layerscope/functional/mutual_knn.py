"""Mutual k-nearest neighbours: how many of an example's neighbours are the same in two representations."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lightning_layerscope.functional._cells import nan_like, over_cells, squared_distances
from lightning_layerscope.functional._checks import check_pair
from lightning_layerscope.functional.gram import center, gram_of

Distance = Literal["euclidean", "cosine"]


@torch.no_grad()
def mutual_knn(x: Tensor, y: Tensor, k: int = 10, distance: Distance = "cosine") -> Tensor:
    r"""Mean share of common neighbours.

    .. math:: m = \frac1n \sum_i \frac{|N^x_k(i) \cap N^y_k(i)|}{k}

    :math:`N_k(i)` are the ``k`` nearest other examples of ``i``. Source: Huh et al. 2024, "The platonic representation
    hypothesis", section 2 and appendix A (their neighbours are by cosine, too; here the mean over examples is removed
    first, so that a common offset does not matter). Chance level for independent sides: k / (n - 1).

    Equal distances are broken arbitrarily: exact duplicates among the examples make the value depend on their order.

    Args:
        x: ``(examples, width_x)`` or ``(layers, examples, width_x)``.
        y: The same examples and layers, ``(..., examples, width_y)``.
        k: Number of neighbours, 1 to examples - 2 (with examples - 1 every set is the same).
        distance: ``"cosine"`` after centring, or ``"euclidean"``.

    Returns:
        ``()`` or ``(layers,)`` in float64, in [0, 1]; NaN where a side has no variance, or for ``"cosine"`` where an
        example sits on the mean and has no direction.

    Raises:
        ValueError: Shapes that do not match, ``k`` out of range for the number of examples, non-finite values, bad
            options.

    Example:
        >>> x = torch.tensor([[0.0, 1.0], [0.1, 1.0], [1.0, 0.0], [1.0, 0.1]])
        >>> mutual_knn(x, 5 * x, k=1, distance="euclidean")
        tensor(1., dtype=torch.float64)
    """
    if k < 1:
        raise ValueError(f"mutual_knn: expected `k` of at least 1, got {k}.")
    check_pair(x, y, minimum=3)
    if k > x.shape[-2] - 2:
        raise ValueError(
            f"mutual_knn with k={k} needs at least {k + 2} examples, got {x.shape[-2]}; choose a smaller `k` or use "
            "more examples."
        )
    if distance not in ("euclidean", "cosine"):
        raise ValueError(f'mutual_knn: expected `distance` "euclidean" or "cosine", got {distance!r}.')

    def cell(a: Tensor, b: Tensor) -> Tensor:
        sides = [_distances(side, distance) for side in (a, b)]
        if any(bool(torch.isnan(side).any()) for side in sides):
            return nan_like(a)
        member_a, member_b = (neighbours(side, k) for side in sides)
        return (member_a & member_b).sum().double() / (k * a.shape[0])

    return over_cells(cell, x, y)


def neighbours(distances: Tensor, k: int) -> Tensor:
    """Boolean ``(n, n)``: is column j among the k nearest other examples of row i?"""
    own = torch.eye(distances.shape[-1], dtype=torch.bool, device=distances.device)
    nearest = distances.masked_fill(own, torch.inf).topk(k, dim=-1, largest=False).indices
    return torch.zeros_like(own).scatter_(-1, nearest, True)


def _distances(x: Tensor, kind: Distance) -> Tensor:
    x = center(x)
    lengths = x.norm(dim=-1, keepdim=True)
    if kind == "cosine":
        directions = x / lengths.masked_fill(lengths == 0, torch.nan)
        cosines: Tensor = directions @ directions.mT
        return 1 - cosines
    if not bool((lengths > 0).any()):
        return torch.full((x.shape[0], x.shape[0]), torch.nan, dtype=x.dtype, device=x.device)
    return squared_distances(gram_of(x))
