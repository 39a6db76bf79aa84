"""Centred Gram matrices: what similarity is computed from when examples are fewer than dimensions."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_layerscope.functional._checks import check_features, check_gram
from lightning_layerscope.functional._products import DEVICE_BLOCK, exact_products, symmetric_product


@torch.no_grad()
def centered_gram(x: Tensor) -> Tensor:
    r"""Inner products of all pairs of examples after the mean example is removed.

    .. math:: K = (X - \mathbf 1 \bar x^\top)(X - \mathbf 1 \bar x^\top)^\top

    The centring is done on the states, in float32, before the product: LLM states have dimensions a thousand times
    larger than the rest, with large means, and centring a finished Gram matrix loses those digits.

    Args:
        x: ``(..., examples, width)`` hidden states in any floating dtype.

    Returns:
        ``(..., examples, examples)`` in float32 (float64 for float64 input), symmetric and rows summing to
        zero up to rounding. Exactly zero where all examples are equal.

    Raises:
        ValueError: Fewer than 2 examples, a non-floating dtype, or non-finite values (the rows are named).

    Peak memory beside input and output: one centred cell on the CPU; about 64 MB or one cell on other devices.

    Example:
        >>> x = torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]])
        >>> centered_gram(x)
        tensor([[ 4.,  0., -4.],
                [ 0.,  0.,  0.],
                [-4.,  0.,  4.]])
    """
    check_features(x, minimum=2)
    return gram_of(x)


def gram_of(x: Tensor) -> Tensor:
    """:func:`centered_gram` for input that has been checked."""
    x = x.detach()
    dtype = product_dtype(x)
    n, width = x.shape[-2:]
    cells = x.reshape(-1, n, width)
    out = torch.empty(cells.shape[0], n, n, dtype=dtype, device=x.device)
    with exact_products(x.device):
        if x.device.type == "cpu":
            # A loop with one reused buffer is faster here than a batched product over freshly allocated memory.
            buffer = torch.empty(n, width, dtype=dtype)
            for cell, target in zip(cells, out, strict=True):
                symmetric_product(center(cell, out=buffer), out=target)
        else:
            step = max(1, DEVICE_BLOCK // (n * width))
            for start in range(0, cells.shape[0], step):
                centred = center(cells[start : start + step])
                torch.bmm(centred, centred.mT, out=out[start : start + step])
    return out.reshape(*x.shape[:-1], n)


def center(x: Tensor, out: Tensor | None = None) -> Tensor:
    """Remove the mean over axis -2 in float32 (float64 for float64), exactly zero for constant columns.

    Subtracting the first example first makes it so: equal values cancel exactly, and what is left to average is small,
    so a mean of any size costs no digits.
    """
    dtype = product_dtype(x)
    first = x[..., :1, :].to(dtype)
    shifted = torch.sub(x.to(dtype) if out is None or x.dtype != dtype else x, first, out=out)
    return shifted.sub_(shifted.mean(dim=-2, keepdim=True))


def product_dtype(x: Tensor) -> torch.dtype:
    """Products run in float32, except for float64 input."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


@torch.no_grad()
def u_center(k: Tensor) -> Tensor:
    r"""U-centred Gram matrix, whose inner products are debiased similarities.

    .. math:: A_{ij} = K_{ij} + \frac{a_i + a_j}{n - 2} - \frac{\sum_m a_m}{(n - 1)(n - 2)} \quad (i \ne j), \qquad
              A_{ii} = 0, \qquad a = \operatorname{diag} K

    for a centred ``K``. Debiased CKA is the cosine of two such matrices. Source: Szekely and Rizzo 2014, "Partial
    distance correlation with methods for dissimilarities", definition 2, applied to a centred kernel.

    Args:
        k: ``(..., examples, examples)`` centred Gram matrices.

    Returns:
        The same shape and dtype, symmetric, with a zero diagonal and rows summing to zero up to rounding.

    Raises:
        ValueError: Not square, or fewer than 4 examples.

    Example:
        >>> a = u_center(centered_gram(torch.randn(6, 3, generator=torch.Generator().manual_seed(0))))
        >>> bool((a.sum(dim=-1).abs() < 1e-5).all()), bool((a.diagonal() == 0).all())
        (True, True)
    """
    check_gram(k)
    offset = u_offset(k).to(k.dtype)
    centred = k + offset.unsqueeze(-1)
    centred += offset.unsqueeze(-2)
    centred.diagonal(dim1=-2, dim2=-1).zero_()
    return centred


def u_offset(k: Tensor) -> Tensor:
    """What U-centring adds to every entry, once for its row and once for its column: ``(..., n)`` float64."""
    n = k.shape[-1]
    diagonal = k.diagonal(dim1=-2, dim2=-1).double()
    return diagonal / (n - 2) - diagonal.sum(dim=-1, keepdim=True) / (2 * (n - 1) * (n - 2))
