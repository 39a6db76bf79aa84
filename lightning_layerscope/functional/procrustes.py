"""Orthogonal Procrustes: how far two representations are apart after the best rotation of one onto the other."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_layerscope.functional._cells import nan_like, over_cells, principal_axes
from lightning_layerscope.functional._checks import check_pair
from lightning_layerscope.functional.gram import gram_of


@torch.no_grad()
def procrustes_similarity(x: Tensor, y: Tensor) -> Tensor:
    r"""Nuclear norm of the cross-covariance of two centred representations of unit Frobenius norm.

    .. math:: s = \frac{\|X^\top Y\|_*}{\|X\|_F \, \|Y\|_F}

    Normalisation: the column mean is removed, then each side is divided by its Frobenius norm; nothing is done per
    dimension. ``s`` is the cosine of the angular Procrustes distance ``arccos(s)`` of Williams et al. 2021,
    "Generalized shape metrics on neural representations". Widths may differ: the narrower side counts as padded
    with zeros.

    With fewer examples than dimensions it is inflated for unrelated sides (every side can be rotated onto much of any
    other); compare only values with equal ``examples`` and similar spectra.

    Args:
        x: ``(examples, width_x)`` or ``(layers, examples, width_x)``.
        y: The same examples and layers, ``(..., examples, width_y)``.

    Returns:
        ``()`` or ``(layers,)`` in float64, in [0, 1] up to rounding; NaN where a side has no variance.

    Raises:
        ValueError: Shapes that do not match, fewer than two examples, or non-finite values.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
        >>> rotation = torch.tensor([[0.6, 0.8], [-0.8, 0.6]])
        >>> procrustes_similarity(x, 7 * x @ rotation + 3).round(decimals=6)
        tensor(1., dtype=torch.float64)
    """
    check_pair(x, y, minimum=2)
    return over_cells(_similarity, x, y)


@torch.no_grad()
def procrustes_distance(x: Tensor, y: Tensor) -> Tensor:
    r"""Squared distance after the best rotation, between representations of unit Frobenius norm.

    .. math:: d = \min_{Q^\top Q = I} \Big\| \tfrac{X}{\|X\|_F} - \tfrac{Y}{\|Y\|_F} Q \Big\|_F^2
                = 2 - 2\,\mathrm{procrustes\_similarity}(X, Y)

    Source: Ding, Denain and Steinhardt 2021, "Grounding representation similarity through statistical testing";
    same normalisation as :func:`procrustes_similarity`. It is the *squared* distance, as there; its square root is a
    metric. For equal sides it is zero up to rounding, so a value such as -1e-15 is possible.

    Args:
        x: ``(examples, width_x)`` or ``(layers, examples, width_x)``.
        y: The same examples and layers, ``(..., examples, width_y)``.

    Returns:
        ``()`` or ``(layers,)`` in float64, in [0, 2]; NaN where a side has no variance.

    Raises:
        ValueError: Shapes that do not match, fewer than two examples, or non-finite values.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
        >>> y = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
        >>> procrustes_distance(x, y)
        tensor(2., dtype=torch.float64)
    """
    check_pair(x, y, minimum=2)
    return 2 - 2 * over_cells(_similarity, x, y)


def _similarity(x: Tensor, y: Tensor) -> Tensor:
    # ||X^T Y||_* = ||S_x U_x^T U_y S_y||_* with X = U S V^T: examples x examples instead of width x width.
    factors = []
    for side in (x, y):
        values, vectors = principal_axes(gram_of(side))
        if values.numel() == 0:
            return nan_like(side)
        factors.append(vectors * (values / values.sum()).sqrt())
    stretches: Tensor = torch.linalg.svdvals(factors[0].mT @ factors[1])
    return stretches.sum()
