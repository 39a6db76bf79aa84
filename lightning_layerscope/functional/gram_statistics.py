"""What is computed once per Gram matrix and used in every comparison with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_layerscope.functional._checks import check_gram
from lightning_layerscope.functional._products import blocks

#: A debiased self-similarity below this share of the biased one is rounding: no pattern between distinct examples.
NOTHING = 1e-9


class Margins(NamedTuple):
    """Diagonal of a Gram matrix and its row sums without the diagonal, each ``(..., n)`` float64."""

    diagonal: Tensor
    off_diagonal: Tensor


@dataclass(frozen=True)
class GramStatistics:
    """Centred Gram matrices with the sums that need no second side; made by :func:`prepare_gram`.

    Attributes:
        gram: ``(..., n, n)`` the centred Gram matrices.
        diagonal: ``(..., n)`` float64, squared length of every centred example.
        off_diagonal: ``(..., n)`` float64, row sums without the diagonal (minus the diagonal, up to rounding).
        self_rows: ``(..., n)`` float64, row sums of the squared entries.
        weighted_rows: ``(..., n)`` float64, ``K @ off_diagonal``.
    """

    gram: Tensor
    diagonal: Tensor
    off_diagonal: Tensor
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

    @property
    def margins(self) -> Margins:
        """What the debiased estimator needs of one side."""
        return Margins(self.diagonal, self.off_diagonal)

    def self_term(self, estimator: str) -> Tensor:
        """Similarity of the side with itself, ``(...)`` float64 (not normalised)."""
        return combine(self.self_rows.sum(dim=-1), self.margins, self.margins, estimator)

    def __getitem__(self, index: int | slice) -> GramStatistics:
        """Some of the leading (layer) axis."""
        parts = (self.gram, self.diagonal, self.off_diagonal, self.self_rows, self.weighted_rows)
        return GramStatistics(*(part[index] for part in parts))


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
    margins, self_rows = _own(flat)
    weighted = torch.empty_like(self_rows)
    for cell, row in blocks(flat.shape, k.device):
        weighted[cell, row] = (flat[cell, row].double() @ margins.off_diagonal[cell].unsqueeze(-1)).squeeze(-1)
    return GramStatistics(k, *(t.reshape(k.shape[:-1]) for t in (*margins, self_rows, weighted)))


def _own(k: Tensor) -> tuple[Margins, Tensor]:
    """Margins and row sums of squares of ``(cells, n, n)`` in one pass in float64."""
    diagonal = k.diagonal(dim1=-2, dim2=-1).double()
    row_sums, self_rows = torch.empty_like(diagonal), torch.empty_like(diagonal)
    for cell, row in blocks(k.shape, k.device):
        part = k[cell, row].double()
        row_sums[cell, row] = part.sum(dim=-1)
        self_rows[cell, row] = torch.linalg.vecdot(part, part)
    return Margins(diagonal, row_sums - diagonal), self_rows


def combine(product: Tensor, x: Margins, y: Margins, estimator: str) -> Tensor:
    r"""Similarity of two centred sides from ``<K, L>``, up to a factor that cancels in CKA.

    biased: ``<K, L>``; debiased, with the off-diagonal matrices K', L' and their row sums s, t:
    ``<K', L'> - 2/(n-2) s.t + (sum s)(sum t) / ((n-1)(n-2))`` (Song et al. 2012, equation 5). Centring makes s = -a and
    t = -b, which gives the formula in :func:`linear_cka`; with the actual sums its rounding enters squared only.
    """
    if estimator == "biased":
        return product
    n = x.diagonal.shape[-1]
    off = product - (x.diagonal * y.diagonal).sum(dim=-1)
    paths = (x.off_diagonal * y.off_diagonal).sum(dim=-1)
    totals = x.off_diagonal.sum(dim=-1) * y.off_diagonal.sum(dim=-1)
    return off - 2 / (n - 2) * paths + totals / ((n - 1) * (n - 2))


def self_terms(k: Tensor | GramStatistics, estimator: str) -> tuple[Tensor, Margins]:
    """Flat ``(cells,)`` self-similarity, and the margins ``(cells, n)``; a value alone needs no more."""
    n = k.shape[-1]
    if isinstance(k, GramStatistics):
        return k.self_term(estimator).reshape(-1), Margins(*(part.reshape(-1, n) for part in k.margins))
    flat = k.reshape(-1, n, n)
    margins, self_rows = _own(flat)
    return combine(self_rows.sum(dim=-1), margins, margins, estimator), margins


def undefined(self_term: Tensor, diagonal: Tensor) -> Tensor:
    """Where a self-similarity is zero up to rounding or not a number; there CKA does not exist."""
    return ~(self_term > NOTHING * diagonal.square().sum(dim=-1)) | ~torch.isfinite(self_term)


def matrix(k: Tensor | GramStatistics) -> Tensor:
    """The Gram matrices themselves."""
    return k.gram if isinstance(k, GramStatistics) else k
