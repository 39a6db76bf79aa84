"""Intervals and p-values for every measure, from the measure itself.

Linear and RBF CKA have a jackknife in closed form (:func:`cka_estimate`); everything here is for the others.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_layerscope.functional._groups import group_positions, grouped_stderr, shuffled_groups
from lightning_layerscope.functional.jackknife import Estimate
from lightning_layerscope.functional.student import student_quantile


@torch.no_grad()
def jackknife_estimate(
    measure: Callable[..., Tensor],
    *samples: Tensor,
    confidence: float = 0.9,
    groups: int | Tensor | None = None,
    strata: Tensor | None = None,
) -> Estimate:
    r"""Interval of a measure by leaving out one example (or one group of examples) at a time.

    .. math:: \mathrm{se}^2 = \frac{1}{G} \sum_{g=1}^G \frac{(\tilde\theta_g - \theta_J)^2}{h_g - 1}, \qquad
              \tilde\theta_g = h_g \theta - (h_g - 1)\, \theta_{(g)}, \qquad
              \theta_J = \sum_{g=1}^G \tilde\theta_g / h_g, \qquad \theta \pm t_{G - 1} \, \mathrm{se}

    with ``h_g = n / n_g`` for a group of ``n_g`` examples. Groups need not be of one size, which matters for values
    that grow with the number of examples, as dimensionalities do; where they are, ``se^2`` is the usual ``(G - 1) / G
    sum (theta_(g) - mean)^2``.

    Source: Tukey 1958; Efron and Stein 1981 (it errs on the wide side); for groups of unequal size, Busing, Meijer and
    van der Leeden 1999, "Delete-m jackknife for unequal m".

    The interval says how far the value moves when other examples of the same kind are drawn. It does not remove the
    bias that a measure has at this number of examples: an SVCCA of .9 between unrelated sides has a narrow interval
    around .9. It is sound for measures that change smoothly when an example goes: Procrustes, RSA, CKA, predictivity,
    effective rank, participation ratio, scatter ratio, silhouette and, being averages of local quantities, mutual k-NN
    and k-NN purity. A whole number such as :func:`components_for_variance` moves in steps that no interval follows:
    pass ``interpolate=True``. A bootstrap with repeated rows is not offered: duplicates are neighbours of one another,
    inflate every similarity and lower every dimensionality.

    Cost: one evaluation of ``measure`` per example, or ``groups`` of them (20 to 40 are usually enough).

    Args:
        measure: Takes the samples and returns a tensor of any one shape, e.g. ``functools.partial(svcca,
            variance=0.9)``.
        samples: What holds the examples: floating tensors ``(..., examples, width)`` and label vectors ``(examples,)``.
        confidence: Coverage wanted, in (0, 1).
        groups: Leave out this many groups in turn instead of single examples. Example i belongs to group i mod
            ``groups``, so the order of the examples must be arbitrary. Or integers ``(examples,)``, the group of each
            example: for examples that depend on each other, such as near copies of one prompt.
        strata: Integer ``(examples,)``: spread every stratum (task) evenly over the groups; only with a number of
            ``groups``.

    Returns:
        ``Estimate(value, stderr, low, high)``, each shaped like the measure's value; NaN where the measure is
        undefined for the whole sample or for one that leaves examples out.

    Raises:
        ValueError: No samples, unequal numbers of examples, fewer than three groups, or ``confidence`` out of range.

    Example:
        >>> from lightning_layerscope.functional import participation_ratio
        >>> x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
        >>> estimate = jackknife_estimate(participation_ratio, x)
        >>> bool(estimate.low < estimate.value < estimate.high)
        True
    """
    n, device = _common_length(samples)
    if not 0 < confidence < 1:
        raise ValueError(f"jackknife_estimate: expected `confidence` in (0, 1), got {confidence}.")
    if isinstance(groups, Tensor) and strata is not None:
        raise ValueError("jackknife_estimate: `strata` spread a number of groups evenly; given groups are as they are.")
    member = (
        group_positions(groups, n).to(device)
        if isinstance(groups, Tensor)
        else _dealt_out(n, groups, strata).to(device)
    )
    sizes = torch.bincount(member)
    count = len(sizes)
    if count < 3:
        raise ValueError(f"jackknife_estimate: expected at least 3 groups, got {count}.")
    value = measure(*samples)
    left_out = torch.stack([measure(*(_take(s, member != group) for s in samples)) for group in range(count)])
    stderr = grouped_stderr(value, left_out, sizes)
    half = student_quantile(0.5 + confidence / 2, count - 1) * stderr
    return Estimate(value, stderr, value - half, value + half)


def _dealt_out(n: int, groups: int | None, strata: Tensor | None) -> Tensor:
    """Group of each example where they are dealt out in turn, ``(n,)``."""
    count = n if groups is None else groups
    if not 3 <= count <= n:
        raise ValueError(f"jackknife_estimate: expected between 3 groups and one per example ({n}), got {count}.")
    order = torch.arange(n)
    if strata is not None:
        if groups is None or strata.shape != (n,):
            raise ValueError(
                f"jackknife_estimate: `strata` needs `groups` and the shape ({n},), got {tuple(strata.shape)}."
            )
        order = torch.argsort(strata.cpu(), stable=True)
    member = torch.empty(n, dtype=torch.long)
    member[order] = torch.arange(n) % count
    return member


@torch.no_grad()
def permutation_pvalue(
    measure: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    permutations: int = 200,
    generator: torch.Generator | None = None,
    larger_is_similar: bool = True,
    groups: Tensor | None = None,
) -> Tensor:
    r"""P-value of a measure against independence: how often do shuffled examples look as similar?

    .. math:: p = \frac{1 + \#\{b : \theta(X, \pi_b Y) \ge \theta(X, Y)\}}{1 + B}

    Source: Phipson and Smyth 2010 (why one is added). It holds at every number of examples and for biased measures too,
    since the shuffled values carry the same bias. For task separability pass the labels as ``y``. For linear CKA,
    :func:`cka_permutation_pvalue` does the same from the Gram matrices, faster.

    Args:
        measure: Takes ``x`` and the shuffled ``y`` and returns a tensor of any one shape.
        x: ``(..., examples, width)``, kept as it is.
        y: ``(..., examples, width)`` or labels ``(examples,)``, shuffled over the examples (all layers alike).
        permutations: Number of shuffles ``B``; the smallest p-value is 1 / (B + 1).
        generator: Source of the shuffles, on the CPU; without one the global generator is used (and advanced).
        larger_is_similar: False for distances.
        groups: Integers ``(examples,)``, the group of each example, where examples depend on each other: only whole
            groups of one size are then shuffled. Groups whose size is unique stay where they are.

    Returns:
        Shaped like the measure's value, in float64, in (0, 1]; NaN where the measure is undefined.

    Raises:
        ValueError: Unequal numbers of examples, fewer than one permutation, or labels of groups that do not fit.

    Example:
        >>> from lightning_layerscope.functional import rsa
        >>> x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
        >>> permutation_pvalue(rsa, x, x, permutations=99, generator=torch.Generator().manual_seed(1))
        tensor(0.0100, dtype=torch.float64)
    """
    n, device = _common_length((x, y))
    if permutations < 1:
        raise ValueError(f"permutation_pvalue: expected at least one permutation, got {permutations}.")
    value = measure(x, y).double()
    hits = torch.ones_like(value)
    undefined = torch.isnan(value)
    # Equal up to rounding counts as equal: a shuffle that only swaps duplicates must not look smaller.
    slack = 1e-9 * value.abs()
    positions = torch.arange(n) if groups is None else group_positions(groups, n)
    for _ in range(permutations):
        shuffled = measure(x, _take(y, shuffled_groups(positions, generator).to(device))).double()
        undefined |= torch.isnan(shuffled)
        hits += shuffled >= value - slack if larger_is_similar else shuffled <= value + slack
    return (hits / (permutations + 1)).masked_fill(undefined, torch.nan)


def _common_length(samples: tuple[Tensor, ...]) -> tuple[int, torch.device]:
    if not samples:
        raise ValueError("Expected at least one tensor that holds the examples, got none.")
    lengths = {sample.shape[-2] if sample.ndim > 1 else sample.shape[0] for sample in samples if sample.ndim}
    if len(lengths) != 1:
        raise ValueError(
            "The samples must hold equally many examples (axis -2 of hidden states, axis 0 of labels), got shapes "
            f"{[tuple(sample.shape) for sample in samples]}."
        )
    return lengths.pop(), samples[0].device


def _take(sample: Tensor, rows: Tensor) -> Tensor:
    return sample[..., rows, :] if sample.ndim > 1 else sample[rows]
