"""Groups of examples that depend on each other, such as near copies of one prompt."""

from __future__ import annotations

import torch
from torch import Tensor


def group_positions(groups: Tensor, examples: int) -> Tensor:
    """Group of each example as a number ``0 .. G-1``, ``(examples,)``.

    Raises:
        ValueError: For labels of another shape or that are no whole numbers.
    """
    if groups.shape != (examples,) or groups.is_floating_point() or groups.is_complex():
        raise ValueError(
            f"`groups` must hold a whole number per example, shape ({examples},), got {groups.dtype} of shape "
            f"{tuple(groups.shape)}."
        )
    ordered, order = groups.sort()
    positions = torch.empty_like(order)
    positions[order] = (ordered != ordered.roll(1)).long().cumsum(0) - int(ordered[0] != ordered[-1])
    return positions


def grouped_stderr(value: Tensor, left_out: Tensor, sizes: Tensor) -> Tensor:
    """Delete-a-group jackknife for groups of any sizes (Busing, Meijer and van der Leeden 1999).

    Args:
        value: ``(...)``, of all examples.
        left_out: ``(groups, ...)``, without each group.
        sizes: ``(groups,)``.
    """
    h = (sizes.sum() / sizes).to(value).reshape(-1, *[1] * value.ndim)
    pseudo = h * value - (h - 1) * left_out
    return ((pseudo - (pseudo / h).sum(dim=0)).square() / (h - 1)).mean(dim=0).sqrt()


def shuffled_groups(positions: Tensor, generator: torch.Generator | None) -> Tensor:
    """An order of the examples, ``(examples,)`` on the CPU, in which groups of one size have changed places."""
    by_group = torch.argsort(positions, stable=True)
    sizes = torch.bincount(positions)
    ends = sizes.cumsum(0)
    order = torch.empty_like(by_group)
    for size in sorted(set(sizes.tolist())):
        starts = (ends - sizes)[sizes == size]
        members = by_group[starts[:, None] + torch.arange(size)]
        order[members.flatten()] = members[torch.randperm(len(members), generator=generator)].flatten()
    return order
