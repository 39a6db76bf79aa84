"""Intervals for linear CKA: the delete-one jackknife in closed form."""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_layerscope.functional._checks import check_estimator
from lightning_layerscope.functional._products import blocks
from lightning_layerscope.functional.gram_statistics import GramStatistics, Margins, combine, prepare_gram, undefined
from lightning_layerscope.functional.grouped_cka import JACKKNIFE_GROUPS, grouped_cka_replicates
from lightning_layerscope.functional.student import student_quantile


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
    groups: Tensor | None = None,
) -> Estimate:
    r"""Linear CKA with the interval of the delete-one jackknife, at the cost of a few matrix-vector products.

    .. math:: \mathrm{se}^2 = \frac{n - 1}{n} \sum_i \big(\mathrm{CKA}_{-i} - \overline{\mathrm{CKA}_{-\cdot}}\big)^2,
              \qquad \mathrm{CKA} \pm z \, \mathrm{se}

    ``CKA_-i`` is the value without example i, centred anew. All n of them follow from row sums, O(n^2) in all: with
    ``Q`` the row sums of ``K * L`` and ``a``, ``b`` the diagonals, the biased product without i is
    ``sum Q - 2 r Q_i + r^2 a_i b_i`` with ``r = n / (n - 1)``; see the code for the debiased one.

    The interval says how far the value moves with other examples of the same kind. Do not use a bootstrap that repeats
    examples instead: repeated rows inflate CKA, and such intervals miss most of the time.

    Examples that depend on each other, such as near copies of one prompt, inflate the value and narrow the interval.
    Where their ``groups`` are given each group counts once, no two examples of one group are compared with each other,
    groups are left out whole, and the interval takes Student's t of their number less one.

    Args:
        k: ``(..., examples, examples)`` centred Gram matrices, or prepared ones (:func:`prepare_gram`).
        l: The other side, of the same shape.
        estimator: ``"debiased"`` or ``"biased"``.
        confidence: Nominal coverage of the interval, in (0, 1).
        groups: Integers ``(examples,)``, the group of each example; by default each is on its own.

    Returns:
        Value, stderr, low, high: each ``(...)`` float64. NaN where the value is undefined, or undefined without one of
        the examples; never clamped, so an interval near 1 may end above it.

    Raises:
        ValueError: Shapes that do not match, fewer than 5 (debiased) or 3 (biased) examples, bad options, fewer than 5
            groups, or groups with the biased estimator.

    Example:
        >>> from lightning_layerscope.functional import centered_gram
        >>> g = torch.Generator().manual_seed(0)
        >>> x = torch.randn(64, 8, generator=g)
        >>> y = x + 0.5 * torch.randn(64, 8, generator=g)
        >>> estimate = cka_estimate(centered_gram(x), centered_gram(y))
        >>> bool(estimate.low < estimate.value < estimate.high)
        True
    """
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` must be between 0 and 1, e.g. 0.9, got {confidence}.")
    if groups is None:
        value, replicates = cka_replicates(k, l, estimator=estimator)
        quantile = NormalDist().inv_cdf(0.5 + confidence / 2)
    else:
        left, right = prepare_gram(k), prepare_gram(l)
        check_prepared(left, right, minimum=JACKKNIFE_GROUPS)
        value, replicates = grouped_cka_replicates(left.gram, right.gram, groups, estimator=estimator)
        quantile = student_quantile(0.5 + confidence / 2, replicates.shape[-1] - 1)
    stderr = jackknife_stderr(replicates).masked_fill(torch.isnan(value), torch.nan)
    half = quantile * stderr
    return Estimate(value, stderr, value - half, value + half)


def jackknife_stderr(replicates: Tensor) -> Tensor:
    r"""Standard error of a value from its delete-one replicates, of examples or of groups of them.

    .. math:: \mathrm{se}^2 = \frac{n - 1}{n} \sum_i \big(\theta_{-i} - \overline{\theta_{-\cdot}}\big)^2

    Source: Tukey 1958.

    Args:
        replicates: ``(..., examples)``, the value without each of the examples (or groups).

    Returns:
        ``(...)``.
    """
    n = replicates.shape[-1]
    spread = (replicates - replicates.mean(dim=-1, keepdim=True)).square().sum(dim=-1)
    return (spread * (n - 1) / n).sqrt()


@torch.no_grad()
def cka_replicates(
    k: Tensor | GramStatistics,
    l: Tensor | GramStatistics,  # noqa: E741
    *,
    estimator: str = "debiased",
) -> tuple[Tensor, Tensor]:
    """Linear CKA, and its value without each of the examples.

    For intervals of whatever is made of several values on the same examples (a mean over layers, the difference of two
    models): make it of the replicates too, and apply the jackknife to the result. See :func:`cka_estimate`.

    Args:
        k: ``(..., examples, examples)`` centred Gram matrices, or prepared ones.
        l: The other side, of the same shape.
        estimator: ``"debiased"`` or ``"biased"``.

    Returns:
        The value ``(...)``, NaN where undefined, and the replicates ``(..., examples)``, float64.

    Raises:
        ValueError: Shapes that do not match, fewer than 5 (debiased) or 3 (biased) examples, an unknown estimator.
    """
    check_estimator(estimator)
    left = prepare_gram(k)
    right = left if l is k else prepare_gram(l)
    check_prepared(left, right, minimum=5 if estimator == "debiased" else 3)
    rows, left_t, right_s = _cross_rows(left, right)
    a, b = left.margins, right.margins
    cross = combine(rows.sum(dim=-1), a, b, estimator)
    own = left.self_term(estimator), right.self_term(estimator)
    value = cross / (own[0] * own[1]).sqrt()

    without = _without_one(rows, a, b, left_t, right_s, estimator)
    without_x = _without_one(left.self_rows, a, a, left.weighted_rows, left.weighted_rows, estimator)
    without_y = _without_one(right.self_rows, b, b, right.weighted_rows, right.weighted_rows, estimator)
    replicates = without / (without_x * without_y).sqrt()

    nowhere = undefined(own[0], left.diagonal) | undefined(own[1], right.diagonal)
    return value.masked_fill(nowhere, torch.nan), replicates


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
    """Row sums of ``K * L``, ``K @ t`` and ``L @ s`` in float64, converted block by block."""
    if left is right:
        return left.self_rows, left.weighted_rows, left.weighted_rows
    n = left.examples
    k, other = left.gram.reshape(-1, n, n), right.gram.reshape(-1, n, n)
    s, t = left.off_diagonal.reshape(-1, n, 1), right.off_diagonal.reshape(-1, n, 1)
    rows, left_t, right_s = (torch.empty(s.shape[:2], dtype=torch.float64, device=s.device) for _ in range(3))
    for cell, row in blocks(k.shape, k.device):
        kd, ld = k[cell, row].double(), other[cell, row].double()
        rows[cell, row] = torch.linalg.vecdot(kd, ld)
        left_t[cell, row] = (kd @ t[cell]).squeeze(-1)
        right_s[cell, row] = (ld @ s[cell]).squeeze(-1)
    shape = left.diagonal.shape
    return rows.reshape(shape), left_t.reshape(shape), right_s.reshape(shape)


def _without_one(rows: Tensor, x: Margins, y: Margins, k_t: Tensor, l_s: Tensor, estimator: str) -> Tensor:
    """Similarity (as in :func:`combine`) of the other n - 1 examples, for each example left out: ``(..., n)``."""
    m = rows.shape[-1] - 1
    ab = x.diagonal * y.diagonal
    if estimator == "biased":
        r = (m + 1) / m
        return rows.sum(dim=-1, keepdim=True) - 2 * r * rows + r**2 * ab
    # combine() for the m others: row and column i leave K' and L', whose rows then sum to s_j - K'_ij and t_j - L'_ij.
    s, t = x.off_diagonal, y.off_diagonal
    off_rows = rows - ab
    product = off_rows.sum(dim=-1, keepdim=True) - 2 * off_rows
    totals = (s.sum(dim=-1, keepdim=True) - 2 * s) * (t.sum(dim=-1, keepdim=True) - 2 * t)
    # The product of those row sums over j, with (K' t)_i = (K t)_i - a_i t_i and likewise for L.
    through_i = (k_t - x.diagonal * t) + (l_s - y.diagonal * s) - off_rows
    paths = (s * t).sum(dim=-1, keepdim=True) - s * t - through_i
    return product + totals / ((m - 1) * (m - 2)) - 2 / (m - 2) * paths
