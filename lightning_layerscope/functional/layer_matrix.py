"""Linear CKA between all pairs of layers, as one matrix product."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_layerscope.functional._checks import (
    check_device,
    check_estimator,
    check_gram,
    minimum_examples,
)
from lightning_layerscope.functional._products import exact_products
from lightning_layerscope.functional.gram import u_offset
from lightning_layerscope.functional.gram_statistics import GramStatistics, matrix, undefined

#: Entries per layer and product: float32 adds up this many, float64 the rest; both layers' chunks stay in the cache.
CHUNK = 2**15


@torch.no_grad()
def cka_layer_matrix(
    k: Tensor | GramStatistics,
    l: Tensor | GramStatistics,  # noqa: E741
    estimator: str = "debiased",
) -> Tensor:
    r"""Linear CKA of every layer of one model with every layer of another (or of itself).

    .. math:: M_{ij} = \frac{\langle S_{K_i}, S_{L_j} \rangle}{\|S_{K_i}\| \, \|S_{L_j}\|}

    with ``S`` the U-centred (debiased) or the plain centred (biased) Gram matrix: stacked as vectors, all pairs are one
    matrix product.

    Args:
        k: ``(layers_k, examples, examples)`` centred Gram matrices.
        l: ``(layers_l, examples, examples)`` of the same examples; pass ``k`` itself for one model, which saves half.
        estimator: ``"debiased"`` or ``"biased"``.

    Returns:
        ``(layers_k, layers_l)`` float64; rows and columns of undefined layers are NaN.

    Raises:
        ValueError: Wrong shapes, different numbers of examples, or fewer than 4 (debiased) or 2 (biased) examples.

    Peak memory beside the input: 2^15 entries per layer (or one row, if longer).

    Example:
        >>> from lightning_layerscope.functional import centered_gram
        >>> k = centered_gram(torch.randn(3, 12, 5, generator=torch.Generator().manual_seed(0)))
        >>> matrix = cka_layer_matrix(k, k)
        >>> matrix.shape, bool((matrix.diagonal() - 1).abs().max() < 1e-6)
        (torch.Size([3, 3]), True)
    """
    check_estimator(estimator)
    first = matrix(k).detach()
    second = first if l is k else matrix(l).detach()
    for side, name in ((first, "k"), (second, "l")):
        check_gram(side, name, minimum=minimum_examples(estimator))
        if side.ndim != 3:
            raise ValueError(f"`{name}` must have shape (layers, examples, examples), got {tuple(side.shape)}.")
    if first.shape[-1] != second.shape[-1]:
        raise ValueError(
            f"`k` and `l` must hold the same examples, got {first.shape[-1]} and {second.shape[-1]} of them."
        )
    check_device(first, second, ("k", "l"))
    products, own_k, own_l = _all_products(first, second, estimator)
    values = products / (own_k.sqrt().unsqueeze(-1) * own_l.sqrt())
    values.masked_fill_(undefined(own_k, _lengths(first)).unsqueeze(-1), torch.nan)
    return values.masked_fill_(undefined(own_l, _lengths(second)), torch.nan)


def _lengths(k: Tensor) -> Tensor:
    return k.diagonal(dim1=-2, dim2=-1).double()


def _all_products(k: Tensor, other: Tensor, estimator: str) -> tuple[Tensor, Tensor, Tensor]:
    """Products of all pairs and of every layer with itself, from chunks of rows that are U-centred on the way."""
    n = k.shape[-1]
    dtype = torch.promote_types(k.dtype, other.dtype)
    rows = max(1, min(n, CHUNK // n))
    sides = [k] if other is k else [k, other]
    offsets = [u_offset(side).to(dtype) if estimator == "debiased" else None for side in sides]
    buffers = [torch.empty(side.shape[0], rows, n, dtype=dtype, device=k.device) for side in sides]
    total = torch.zeros(k.shape[0], other.shape[0], dtype=torch.float64, device=k.device)
    own = [torch.zeros(side.shape[0], dtype=torch.float64, device=k.device) for side in sides]
    with exact_products(k.device):
        for start in range(0, n, rows):
            parts = []
            for side, offset, buffer in zip(sides, offsets, buffers, strict=True):
                part = buffer[:, : min(rows, n - start)]
                source = side[:, start : start + rows]
                if offset is None:
                    part.copy_(source)
                else:
                    torch.add(source, offset[:, start : start + rows, None], out=part).add_(offset.unsqueeze(1))
                    part.diagonal(offset=start, dim1=-2, dim2=-1).zero_()
                parts.append(part.flatten(1))
            total += parts[0] @ parts[-1].mT
            if other is not k:
                for sums, part in zip(own, parts, strict=True):
                    exact = part.double()
                    sums += torch.linalg.vecdot(exact, exact)
    if other is k:
        # The same rounding above and below the fraction bar: a layer is exactly as similar to itself as it can be.
        return total, total.diagonal(), total.diagonal()
    return total, own[0], own[1]
