"""What is computed once per Gram matrix and used in every comparison with it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_layerscope.functional._checks import check_gram
from lightning_layerscope.functional._products import blocks, inner_products

#: A debiased self-similarity below this share of the biased one is rounding: no pattern between distinct examples.
NOTHING = 1e-9


@dataclass(frozen=True)
class GramStatistics:
    """Centred Gram matrices with the sums that need no second side; made by :func:`prepare_gram`.

    Attributes:
        gram: ``(..., n, n)`` the centred Gram matrices.
        diagonal: ``(..., n)`` float64, squared length of every centred example.
        self_rows: ``(..., n)`` float64, row sums of the squared entries.
        weighted_rows: ``(..., n)`` float64, ``K @ diagonal``.
    """

    gram: Tensor
    diagonal: Tensor
    self_rows: Tensor
    weighted_rows: Tensor

    @property
    def shape(self) -> torch.Size:
        """Shape of the Gram matrices, ``(..., n, n)``."""
        return self.gram.shape

    @property
    def examples(self) -> int:
        """Number of examples ``n``."""
        return self.gram.shape[-1]

    def self_term(self, estimator: str) -> Tensor:
        """Similarity of the side with itself, ``(...)`` float64 (not normalised)."""
        return combine(self.self_rows.sum(dim=-1), self.diagonal, self.diagonal, self.examples, estimator)

    def __getitem__(self, index: int | slice) -> GramStatistics:
        """Some of the leading (layer) axis."""
        return GramStatistics(self.gram[index], self.diagonal[index], self.self_rows[index], self.weighted_rows[index])


@torch.no_grad()
def prepare_gram(k: Tensor | GramStatistics) -> GramStatistics:
    """Compute once what every comparison with ``k`` needs, at O(n^2) each.

    For a reference that is compared with again and again; every function that takes Gram matrices takes the result.

    Args:
        k: ``(..., examples, examples)`` centred Gram matrices (returned as it is when already prepared).

    Returns:
        The matrices with their statistics; the matrices themselves are not copied.

    Raises:
        ValueError: Not square Gram matrices of at least 2 examples.

    Example:
        >>> from lightning_layerscope.functional import cka_from_grams, centered_gram
        >>> x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
        >>> reference = prepare_gram(centered_gram(x))
        >>> cka_from_grams(centered_gram(2 * x), reference).round(decimals=6)
        tensor(1., dtype=torch.float64)
    """
    if isinstance(k, GramStatistics):
        return k
    check_gram(k, minimum=2)
    k = k.detach()
    n = k.shape[-1]
    flat = k.reshape(-1, n, n)
    diagonal = flat.diagonal(dim1=-2, dim2=-1).double()
    self_rows, weighted = torch.empty_like(diagonal), torch.empty_like(diagonal)
    for cell, row in blocks(*flat.shape, k.device):
        part = flat[cell, row].double()
        self_rows[cell, row] = torch.linalg.vecdot(part, part)
        weighted[cell, row] = (part @ diagonal[cell].unsqueeze(-1)).squeeze(-1)
    return GramStatistics(k, *(t.reshape(k.shape[:-1]) for t in (diagonal, self_rows, weighted)))


def combine(product: Tensor, a: Tensor, b: Tensor, n: int, estimator: str) -> Tensor:
    r"""Similarity of two centred sides, up to a factor that cancels in CKA.

    biased: ``<K, L>``; debiased: ``<K, L> - n/(n-2) a.b + (sum a)(sum b) / ((n-1)(n-2))`` with the diagonals a and b
    (Song et al. 2012, "Feature selection via dependence maximization", equation 5, for a centred kernel).
    """
    if estimator == "biased":
        return product
    correction = a.sum(dim=-1) * b.sum(dim=-1) / ((n - 1) * (n - 2)) - (a * b).sum(dim=-1) * n / (n - 2)
    return product + correction


def self_terms(k: Tensor | GramStatistics, estimator: str) -> tuple[Tensor, Tensor]:
    """Flat ``(cells,)`` self-similarity and ``(cells, n)`` diagonal; a value alone needs no row sums."""
    if isinstance(k, GramStatistics):
        return k.self_term(estimator).reshape(-1), k.diagonal.reshape(-1, k.examples)
    flat = k.reshape(-1, *k.shape[-2:])
    diagonal = flat.diagonal(dim1=-2, dim2=-1).double()
    return combine(inner_products(flat, flat), diagonal, diagonal, k.shape[-1], estimator), diagonal


def undefined(self_term: Tensor, diagonal: Tensor) -> Tensor:
    """Where a self-similarity is zero up to rounding or not a number; there CKA does not exist."""
    return ~(self_term > NOTHING * diagonal.square().sum(dim=-1)) | ~torch.isfinite(self_term)


def matrix(k: Tensor | GramStatistics) -> Tensor:
    """The Gram matrices themselves."""
    return k.gram if isinstance(k, GramStatistics) else k
