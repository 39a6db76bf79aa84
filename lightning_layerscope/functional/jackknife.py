"""Intervals for linear CKA: the delete-one jackknife in closed form."""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_layerscope.functional._checks import check_estimator
from lightning_layerscope.functional._products import blocks
from lightning_layerscope.functional.gram_statistics import GramStatistics, combine, prepare_gram, undefined


class Estimate(NamedTuple):
    """A value with its standard error and interval, each ``(...)`` in float64."""

    value: Tensor
    stderr: Tensor
    low: Tensor
    high: Tensor


@torch.no_grad()
def cka_estimate(
    k: Tensor | GramStatistics,
    l: Tensor | GramStatistics,  # noqa: E741
    *,
    estimator: str = "debiased",
    confidence: float = 0.9,
) -> Estimate:
    r"""Linear CKA with the interval of the delete-one jackknife, at the cost of a few matrix-vector products.

    .. math:: \mathrm{se}^2 = \frac{n - 1}{n} \sum_i \big(\mathrm{CKA}_{-i} - \overline{\mathrm{CKA}_{-\cdot}}\big)^2,
              \qquad \mathrm{CKA} \pm z \, \mathrm{se}

    ``CKA_-i`` is the value without example i, centred anew. All n of them follow from row sums, O(n^2) in all: with
    ``Q`` the row sums of ``K * L`` and ``a``, ``b`` the diagonals, the biased product without i is
    ``sum Q - 2 r Q_i + r^2 a_i b_i`` with ``r = n / (n - 1)``; see the code for the debiased one.

    The interval says how far the value moves with other examples of the same kind. Do not use a bootstrap that repeats
    examples instead: repeated rows inflate CKA, and such intervals miss most of the time.

    Args:
        k: ``(..., examples, examples)`` centred Gram matrices, or prepared ones (:func:`prepare_gram`).
        l: The other side, of the same shape.
        estimator: ``"debiased"`` or ``"biased"``.
        confidence: Nominal coverage of the interval, in (0, 1).

    Returns:
        value, stderr, low, high: each ``(...)`` float64. NaN where the value is undefined, or undefined without one of
        the examples; never clamped, so an interval near 1 may end above it.

    Raises:
        ValueError: Shapes that do not match, fewer than 5 (debiased) or 3 (biased) examples, bad options.

    Example:
        >>> from lightning_layerscope.functional import centered_gram
        >>> g = torch.Generator().manual_seed(0)
        >>> x = torch.randn(64, 8, generator=g)
        >>> y = x + 0.5 * torch.randn(64, 8, generator=g)
        >>> estimate = cka_estimate(centered_gram(x), centered_gram(y))
        >>> bool(estimate.low < estimate.value < estimate.high)
        True
    """
    check_estimator(estimator)
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` must be between 0 and 1, e.g. 0.9, got {confidence}.")
    left = prepare_gram(k)
    right = left if l is k else prepare_gram(l)
    check_prepared(left, right, minimum=5 if estimator == "debiased" else 3)
    n = left.examples
    rows, left_b, right_a = _cross_rows(left, right)
    a, b = left.diagonal, right.diagonal
    cross = combine(rows.sum(dim=-1), a, b, n, estimator)
    own = left.self_term(estimator), right.self_term(estimator)
    value = cross / (own[0] * own[1]).sqrt()

    without = _without_one(rows, a, b, left_b, right_a, estimator)
    without_x = _without_one(left.self_rows, a, a, left.weighted_rows, left.weighted_rows, estimator)
    without_y = _without_one(right.self_rows, b, b, right.weighted_rows, right.weighted_rows, estimator)
    replicates = without / (without_x * without_y).sqrt()
    spread = (replicates - replicates.mean(dim=-1, keepdim=True)).square().sum(dim=-1)
    stderr = (spread * (n - 1) / n).sqrt()

    nowhere = undefined(own[0], a) | undefined(own[1], b)
    value, stderr = value.masked_fill(nowhere, torch.nan), stderr.masked_fill(nowhere, torch.nan)
    half = NormalDist().inv_cdf(0.5 + confidence / 2) * stderr
    return Estimate(value, stderr, value - half, value + half)


def check_prepared(left: GramStatistics, right: GramStatistics, minimum: int) -> None:
    """Check that two prepared sides belong together."""
    if left.shape != right.shape:
        raise ValueError(
            f"`k` and `l` must be Gram matrices of the same layers and examples, got shapes {tuple(left.shape)} and "
            f"{tuple(right.shape)}."
        )
    if left.gram.device != right.gram.device:
        raise ValueError(f"`k` is on {left.gram.device} and `l` on {right.gram.device}; move both to one device.")
    if left.examples < minimum:
        raise ValueError(f"At least {minimum} examples are needed for an interval, got {left.examples}.")


def _cross_rows(left: GramStatistics, right: GramStatistics) -> tuple[Tensor, Tensor, Tensor]:
    """Row sums of ``K * L``, ``K @ b`` and ``L @ a`` in float64, converted block by block."""
    if left is right:
        return left.self_rows, left.weighted_rows, left.weighted_rows
    n = left.examples
    k, l = left.gram.reshape(-1, n, n), right.gram.reshape(-1, n, n)  # noqa: E741
    a, b = left.diagonal.reshape(-1, n, 1), right.diagonal.reshape(-1, n, 1)
    rows, left_b, right_a = (torch.empty(a.shape[:2], dtype=torch.float64, device=a.device) for _ in range(3))
    for cell, row in blocks(*k.shape, k.device):
        kd, ld = k[cell, row].double(), l[cell, row].double()
        rows[cell, row] = torch.linalg.vecdot(kd, ld)
        left_b[cell, row] = (kd @ b[cell]).squeeze(-1)
        right_a[cell, row] = (ld @ a[cell]).squeeze(-1)
    shape = left.diagonal.shape
    return rows.reshape(shape), left_b.reshape(shape), right_a.reshape(shape)


def _without_one(rows: Tensor, a: Tensor, b: Tensor, k_b: Tensor, l_a: Tensor, estimator: str) -> Tensor:
    """Similarity (as in :func:`combine`) of the other n - 1 examples, for each example left out: ``(..., n)``."""
    n = a.shape[-1]
    m = n - 1
    ab = a * b
    if estimator == "biased":
        return rows.sum(dim=-1, keepdim=True) - 2 * n / m * rows + (n / m) ** 2 * ab
    # Off-diagonal matrices K', L': row sums s = -a and t = -b, since the rows of K and L sum to zero. Song et al.'s
    # estimator of the m others is  tr(K'L') + (1'K'1)(1'L'1) / ((m-1)(m-2)) - 2/(m-2) 1'K'L'1  without row and column i.
    off_rows = rows - ab
    product = off_rows.sum(dim=-1, keepdim=True) - 2 * off_rows
    total_k = 2 * a - a.sum(dim=-1, keepdim=True)
    total_l = 2 * b - b.sum(dim=-1, keepdim=True)
    # sum_j (s_j - K'_ij)(t_j - L'_ij) over j != i, where sum_j K'_ij t_j = a_i b_i - (K b)_i and likewise for L.
    paths = ab.sum(dim=-1, keepdim=True) - ab - (ab - k_b) - (ab - l_a) + off_rows
    return product + total_k * total_l / ((m - 1) * (m - 2)) - 2 / (m - 2) * paths
