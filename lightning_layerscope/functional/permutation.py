"""P-values of linear CKA against independence, by re-indexing the Gram matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_layerscope.functional._checks import check_estimator, minimum_examples
from lightning_layerscope.functional._groups import group_positions, shuffled_groups
from lightning_layerscope.functional.gram import u_center
from lightning_layerscope.functional.gram_statistics import GramStatistics, matrix, prepare_gram, undefined
from lightning_layerscope.functional.jackknife import check_prepared


@torch.no_grad()
def cka_permutation_pvalue(
    k: Tensor | GramStatistics,
    l: Tensor | GramStatistics,  # noqa: E741
    *,
    permutations: int = 200,
    estimator: str = "debiased",
    generator: torch.Generator | None = None,
    groups: Tensor | None = None,
) -> Tensor:
    r"""How often shuffled examples look at least as similar: p-value of linear CKA against independence.

    .. math:: p = \frac{1 + \#\{b : \langle S_K, \pi_b S_L \pi_b^\top \rangle \ge \langle S_K, S_L \rangle\}}{1 + B}

    Self-similarities do not change under a permutation, so only the cross term is computed, from re-indexed matrices
    ``S`` (U-centred ones for the debiased estimator). Source: Phipson and Smyth 2010, "Permutation p-values should
    never be zero". Every cell sees the same permutations.

    Args:
        k: ``(..., examples, examples)`` centred Gram matrices, or prepared ones.
        l: The other side, of the same shape; its examples are shuffled.
        permutations: Number of shuffles ``B``; the smallest p-value is ``1 / (B + 1)``.
        estimator: ``"debiased"`` or ``"biased"``.
        generator: Source of the shuffles, on the CPU; without one the global generator is used (and advanced).
        groups: Integers ``(examples,)``, the group of each example, where examples depend on each other (near copies
            of one prompt): only whole groups of one size are then shuffled. Groups whose size is unique stay.

    Returns:
        ``(...)`` float64 in (0, 1]; NaN where CKA is undefined.

    Raises:
        ValueError: Shapes that do not match, too few examples, fewer than one permutation, or groups that do not fit.

    Example:
        >>> from lightning_layerscope.functional import centered_gram
        >>> k = centered_gram(torch.randn(30, 4, generator=torch.Generator().manual_seed(0)))
        >>> cka_permutation_pvalue(k, k, permutations=99, generator=torch.Generator().manual_seed(1))
        tensor(0.0100, dtype=torch.float64)
    """
    check_estimator(estimator)
    if permutations < 1:
        raise ValueError(f"`permutations` must be at least 1, got {permutations}.")
    left = prepare_gram(k)
    right = left if l is k else prepare_gram(l)
    check_prepared(left, right, minimum=minimum_examples(estimator))
    n = left.examples
    fixed = _signatures(matrix(left).reshape(-1, n, n), estimator).flatten(1)
    moved = _signatures(matrix(right).reshape(-1, n, n), estimator)
    positions = torch.arange(n) if groups is None else group_positions(groups, n)
    orders = torch.stack([shuffled_groups(positions, generator) for _ in range(permutations)]).to(fixed.device)
    hits = torch.ones(fixed.shape[0], dtype=torch.float64, device=fixed.device)
    for index in range(fixed.shape[0]):
        observed = torch.dot(fixed[index], moved[index].flatten())
        # Equal up to rounding counts as equal: a shuffle that only swaps duplicates must not look smaller.
        slack = 1e-6 * fixed[index].norm() * moved[index].norm()
        for order in orders:
            shuffled = moved[index].index_select(0, order).index_select(1, order)
            hits[index] += torch.dot(fixed[index], shuffled.flatten()) >= observed - slack
    p = (hits / (permutations + 1)).reshape(left.shape[:-2])
    nowhere = undefined(left.self_term(estimator), left.diagonal) | undefined(
        right.self_term(estimator), right.diagonal
    )
    return p.masked_fill(nowhere, torch.nan)


def _signatures(k: Tensor, estimator: str) -> Tensor:
    """The matrices whose cosine is CKA."""
    return u_center(k) if estimator == "debiased" else k
