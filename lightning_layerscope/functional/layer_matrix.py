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
from lightning_layerscope.functional.gram import u_center
from lightning_layerscope.functional.gram_statistics import GramStatistics, matrix, self_terms, undefined

#: Entries of a vectorised Gram matrix per product: float32 sums this long are exact enough, longer ones go to float64.
CHUNK = 2**16


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

    Peak memory beside the input: two chunks of 2^16 entries per layer.

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
    products = _all_products(first, second, estimator)
    own_k, margins_k = self_terms(k, estimator)
    own_l, margins_l = (own_k, margins_k) if l is k else self_terms(l, estimator)
    values = products / (own_k.unsqueeze(-1) * own_l).sqrt()
    values.masked_fill_(undefined(own_k, margins_k).unsqueeze(-1), torch.nan)
    return values.masked_fill_(undefined(own_l, margins_l), torch.nan)


def signatures(k: Tensor, estimator: str) -> Tensor:
    """The matrices whose cosine is CKA."""
    return u_center(k) if estimator == "debiased" else k


def _all_products(k: Tensor, l: Tensor, estimator: str) -> Tensor:  # noqa: E741
    dtype = torch.promote_types(k.dtype, l.dtype)
    total = torch.zeros(k.shape[0], l.shape[0], dtype=torch.float64, device=k.device)
    left = signatures(k, estimator).flatten(1).to(dtype)
    right = left if l is k else signatures(l, estimator).flatten(1).to(dtype)
    with exact_products(k.device):
        for start in range(0, left.shape[1], CHUNK):
            total += left[:, start : start + CHUNK] @ right[:, start : start + CHUNK].mT
    return total
