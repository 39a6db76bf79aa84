"""Debiased linear CKA of examples that come in groups, such as near copies of one prompt."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_layerscope.functional._groups import group_positions
from lightning_layerscope.functional.gram_statistics import NOTHING

JACKKNIFE_GROUPS = 5
"""The debiased estimator needs four, and the jackknife leaves one out."""


def grouped_cka_replicates(k: Tensor, l: Tensor, groups: Tensor, *, estimator: str) -> tuple[Tensor, Tensor]:  # noqa: E741
    r"""Debiased CKA from pairs of examples of different groups, each group counting once; and without each group.

    With means ``<...>`` over examples of pairwise different groups, where all groups weigh the same,

    .. math:: \mathrm{HSIC} = \langle K_{ij} L_{ij} \rangle - 2 \langle K_{ij} L_{ik} \rangle
              + \langle K_{ij} L_{kl} \rangle

    For groups of one example this is the estimator of Song et al. 2012, equation 5.

    Args:
        k: ``(..., examples, examples)`` centred Gram matrices.
        l: The other side, of the same shape.
        groups: Integers ``(examples,)``.
        estimator: ``"debiased"``.

    Returns:
        The value ``(...)``, NaN where undefined, and the replicates ``(..., groups)``, float64.

    Raises:
        ValueError: For the biased estimator, fewer than 5 groups, or labels that do not fit.
    """
    if estimator != "debiased":
        raise ValueError(
            f'`groups` need estimator="debiased", got {estimator!r}, which compares examples with themselves.'
        )
    n = k.shape[-1]
    positions = group_positions(groups, n).to(k.device)
    sizes = torch.bincount(positions)
    if len(sizes) < JACKKNIFE_GROUPS:
        raise ValueError(f"At least {JACKKNIFE_GROUPS} groups are needed for an interval, got {len(sizes)}.")
    member = torch.zeros(n, len(sizes), dtype=torch.float64, device=k.device)
    member[torch.arange(n, device=k.device), positions] = 1 / sizes.double()[positions]
    values, replicates = [], []
    for one, two in zip(k.reshape(-1, n, n), l.reshape(-1, n, n), strict=True):
        left, right = ((side.double() * (member @ member.T == 0)) for side in (one, two))
        cross, own_left, own_right = (_hsic(*sides, member) for sides in ((left, right), (left, left), (right, right)))
        scale = [NOTHING * side.diagonal().square().mean() for side in (one.double(), two.double())]
        defined = (own_left[0] > scale[0]) & (own_right[0] > scale[1])
        ratio = cross / (own_left * own_right).sqrt()
        values.append(ratio[0].masked_fill(~defined, torch.nan))
        replicates.append(ratio[1:])
    leading = k.shape[:-2]
    return torch.stack(values).reshape(leading), torch.stack(replicates).reshape(*leading, -1)


def _hsic(k: Tensor, l: Tensor, member: Tensor) -> Tensor:  # noqa: E741
    """Of all groups, then without each: ``(1 + groups,)``; ``k`` and ``l`` are 0 within groups."""
    k_to, l_to = k @ member, l @ member  # mean similarity of each example to each group
    pairs = member.T @ (k * l) @ member
    paths_in = k_to * l_to  # both ends in one group: no path over three
    k_sum, l_sum = k_to.sum(dim=1), l_to.sum(dim=1)
    ends = member.T @ (k_sum * l_sum - paths_in.sum(dim=1))
    # A group may be left out as the middle of a path, or as one of its ends.
    at_ends = member.sum(dim=1) @ (k_sum[:, None] * l_to + l_sum[:, None] * k_to - 2 * paths_in)
    k_groups, l_groups = member.T @ k_to, member.T @ l_to
    k_rows, l_rows = k_groups.sum(dim=1), l_groups.sum(dim=1)
    both = k_groups * l_groups
    rows = both.sum(dim=1)
    total = k_rows.sum() * l_rows.sum() - 4 * (k_rows * l_rows).sum() + 2 * both.sum()
    left_out_rows = (k_rows * l_rows).sum() - k_rows * l_rows - k_groups @ l_rows - l_groups @ k_rows + rows
    totals = (k_rows.sum() - 2 * k_rows) * (l_rows.sum() - 2 * l_rows) - 4 * left_out_rows + 2 * (both.sum() - 2 * rows)
    g = torch.full((1 + len(rows),), float(len(rows) - 1), dtype=torch.float64, device=k.device)
    g[0] += 1
    first = torch.cat([pairs.sum()[None], pairs.sum() - 2 * pairs.sum(dim=1)])
    second = torch.cat([ends.sum()[None], ends.sum() - ends - at_ends])
    third = torch.cat([total[None], totals])
    return first / (g * (g - 1)) - 2 * second / (g * (g - 1) * (g - 2)) + third / (g * (g - 1) * (g - 2) * (g - 3))
