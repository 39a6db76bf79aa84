"""Robust representations: no dimension and no example can decide a similarity on its own."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_layerscope.functional._checks import check_features
from lightning_layerscope.functional.gram import center, gram_of, product_dtype


@torch.no_grad()
def robust_transform(x: Tensor) -> Tensor:
    r"""Z-score every dimension over the examples, then give every example unit length.

    .. math:: z_{ij} = \frac{x_{ij} - \bar x_j}{\sqrt{\frac1n \sum_i (x_{ij} - \bar x_j)^2}}, \qquad
              r_i = \frac{z_i}{\|z_i\|_2}

    LLM states have a few dimensions a thousand times larger than the rest; when two of them move together, CKA of the
    raw states reads close to 1 whatever the others say, and so do a handful of outlier examples. After this transform
    every dimension weighs the same and every example too. Outlier dimensions may carry task information: report the
    robust value *beside* the raw one. It is not invariant to rotation, by design.

    Args:
        x: ``(..., examples, width)`` hidden states in any floating dtype.

    Returns:
        The same shape in float32 (float64 for float64 input). Dimensions without variance and examples equal to the
        mean of all are zero.

    Raises:
        ValueError: Fewer than 4 examples, a non-floating dtype, or non-finite values (the rows are named).

    Example:
        >>> x = torch.tensor([[1000.0, 1.0], [3000.0, 1.0], [1000.0, 3.0], [3000.0, 3.0]])
        >>> robust_transform(x).round(decimals=4)
        tensor([[-0.7071, -0.7071],
                [ 0.7071, -0.7071],
                [-0.7071,  0.7071],
                [ 0.7071,  0.7071]])
    """
    check_features(x)
    out = torch.empty(x.shape, dtype=product_dtype(x), device=x.device)
    n, width = x.shape[-2:]
    for cell, target in zip(x.detach().reshape(-1, n, width), out.view(-1, n, width), strict=True):
        center(cell, out=target)
        deviation = target.square().mean(dim=0).sqrt_()
        target.div_(torch.where(deviation > 0, deviation, torch.ones_like(deviation)))
        length = torch.linalg.vector_norm(target, dim=-1, keepdim=True)
        target.div_(torch.where(length > 0, length, torch.ones_like(length)))
    return out


@torch.no_grad()
def robust_gram(x: Tensor) -> Tensor:
    """Centred Gram matrices of the robust representation: ``centered_gram(robust_transform(x))``.

    Args:
        x: ``(..., examples, width)`` hidden states in any floating dtype.

    Returns:
        ``(..., examples, examples)`` in float32 (float64 for float64 input).

    Raises:
        ValueError: As :func:`robust_transform`.

    Example:
        >>> robust_gram(torch.randn(3, 8, 5, generator=torch.Generator().manual_seed(0))).shape
        torch.Size([3, 8, 8])
    """
    check_features(x)
    n, width = x.shape[-2:]
    cells = [gram_of(robust_transform(cell)) for cell in x.reshape(-1, n, width)]
    return torch.stack(cells).reshape(*x.shape[:-1], n)
