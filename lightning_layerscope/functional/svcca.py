"""SVCCA: canonical correlations between the leading principal directions of two representations."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_layerscope.functional._cells import nan_like, over_cells, principal_axes
from lightning_layerscope.functional._checks import check_pair
from lightning_layerscope.functional.gram import gram_of


@torch.no_grad()
def svcca(x: Tensor, y: Tensor, variance: float = 0.99) -> Tensor:
    r"""Mean canonical correlation of the subspaces that hold ``variance`` of each side's variance.

    .. math:: \mathrm{SVCCA} = \frac{1}{\min(p, q)} \sum_i \sigma_i(U_x^\top U_y)

    :math:`U_x` (n x p) and :math:`U_y` (n x q) are orthonormal bases of the leading principal components of the centred
    matrices over examples, the fewest that reach the wanted share of variance. Source: Raghu et al. 2017, "SVCCA:
    Singular Vector Canonical Correlation Analysis", section 2; mean coefficient as in section 2.1.

    It is inflated when the kept components are many for the number of examples: for independent sides the expected
    squared correlation is about max(p, q) / (n - 1), and when p + q > n - 1 some correlations equal one whatever the
    data. Read it only with p, q far below n (see :func:`components_for_variance`).

    Args:
        x: ``(examples, width_x)`` or ``(layers, examples, width_x)``.
        y: The same examples and layers, ``(..., examples, width_y)``.
        variance: Share of the variance to keep on each side, in (0, 1].

    Returns:
        ``()`` or ``(layers,)`` in float64, in [0, 1] up to rounding; NaN where a side has no variance.

    Raises:
        ValueError: Shapes that do not match, fewer than three examples, non-finite values, or ``variance`` out of
            range.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
        >>> svcca(x, x @ torch.tensor([[3.0, 1.0], [0.0, 1.0]])).round(decimals=6)
        tensor(1., dtype=torch.float64)
    """
    check_pair(x, y, minimum=3)
    if not 0 < variance <= 1:
        raise ValueError(f"svcca: expected `variance` in (0, 1], got {variance}.")

    def cell(a: Tensor, b: Tensor) -> Tensor:
        bases = []
        for side in (a, b):
            values, vectors = principal_axes(gram_of(side))
            if values.numel() == 0:
                return nan_like(side)
            bases.append(vectors[:, : components_needed(values, variance)])
        correlations: Tensor = torch.linalg.svdvals(bases[0].mT @ bases[1])
        return correlations.mean()

    return over_cells(cell, x, y)


def components_needed(values: Tensor, variance: float) -> int:
    """How many of the descending eigenvalues ``values`` it takes to reach the share ``variance`` of their sum."""
    shares = values.cumsum(0) / values.sum()
    # One ulp of slack: the last share is 1 only up to rounding, and a share met exactly must count as met.
    reached = shares >= variance * (1 - 1e-12)
    return int(reached.to(torch.uint8).argmax()) + 1 if bool(reached.any()) else values.numel()
