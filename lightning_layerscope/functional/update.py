"""How far training moved the weights of a layer, relative to their size, and what moved per unit of that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_layerscope.functional._products import exact_products, inner_products


class LowRank(NamedTuple):
    """The change ``scaling * b @ a`` of one matrix, as LoRA (Hu et al. 2022, equation 3) stores it.

    Attributes:
        b: ``(outputs, rank)``.
        a: ``(rank, inputs)``.
        scaling: LoRA's ``alpha / rank``.
    """

    b: Tensor
    a: Tensor
    scaling: float = 1.0


@torch.no_grad()
def relative_update(before: Sequence[Tensor], after: Sequence[Tensor]) -> Tensor:
    r"""Relative change of a layer's weights between two moments of a training.

    .. math:: u = \frac{\|\Delta W\|}{\|W\|}
                = \sqrt{\frac{\sum_m \|W'_m - W_m\|_F^2}{\sum_m \|W_m\|_F^2}}

    over the matrices m of the layer. Source: Billa 2026, "Decomposing the depth profile of fine-tuning" (arXiv
    2604.17177), whose control holds this ratio equal in all layers.

    Args:
        before: Weights of one layer, any shapes and floating dtypes.
        after: The same weights later, in the same order.

    Returns:
        ``()`` float64; NaN where all weights were zero.

    Raises:
        ValueError: No weights, unequal numbers or shapes, or a non-floating dtype.

    Example:
        >>> relative_update([torch.tensor([3.0, 4.0])], [torch.tensor([3.0, 4.5])])
        tensor(0.1000, dtype=torch.float64)
    """
    if not before or len(before) != len(after):
        raise ValueError(
            f"relative_update: expected the same weights twice, at least one, got {len(before)} and {len(after)}."
        )
    for position, (old, new) in enumerate(zip(before, after, strict=True)):
        if old.shape != new.shape or not old.is_floating_point() or not new.is_floating_point():
            raise ValueError(
                f"relative_update: weight {position} is {tuple(old.shape)} {old.dtype} before and {tuple(new.shape)} "
                f"{new.dtype} after; expected floating tensors of one shape (dequantise first)."
            )
    changed = [_squared(new.float() - old.to(new.device).float()) for old, new in zip(before, after, strict=True)]
    return _ratio(changed, [_squared(old) for old in before])


@torch.no_grad()
def relative_low_rank_update(weights: Sequence[Tensor], changes: Sequence[LowRank | None]) -> Tensor:
    r"""Relative change of a layer's weights by adapters, from their factors; the product is never formed.

    .. math:: \|s B A\|_F^2 = s^2 \operatorname{tr}\big( (B^\top B) (A A^\top) \big)

    Both factors of the trace are rank by rank, so a layer costs two thin products. The ratio is that of
    :func:`relative_update`.

    Args:
        weights: The layer's frozen matrices, with and without adapter.
        changes: The adapter of each, or None.

    Returns:
        ``()`` float64; NaN where all weights are zero.

    Raises:
        ValueError: No weights, unequal numbers, or factors whose shapes do not fit one another or the weight.

    Example:
        >>> w, b, a = torch.eye(2), torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0, 1.0]])
        >>> relative_low_rank_update([w], [LowRank(b, a, scaling=2.0)])
        tensor(1.4142, dtype=torch.float64)
    """
    if not weights or len(weights) != len(changes):
        raise ValueError(
            f"relative_low_rank_update: expected one adapter (or None) for each weight, at least one, got "
            f"{len(weights)} weights and {len(changes)} adapters."
        )
    changed = []
    for position, (weight, change) in enumerate(zip(weights, changes, strict=True)):
        if change is not None:
            changed.append(_low_rank_squared(change, weight.numel(), position))
    return _ratio(changed, [_squared(weight) for weight in weights])


@torch.no_grad()
def drift_per_update(drift: Tensor, update: Tensor) -> Tensor:
    r"""Change of the layers' states over the relative change of their weights.

    .. math:: d_l / u_l

    Late layers receive larger gradients and move for that reason alone; what is left after the division is how much a
    layer's states follow from a given change of its weights. Source: Billa 2026 (arXiv 2604.17177), which equalises
    ``u`` during training; dividing afterwards is the version that needs no other training.

    Args:
        drift: ``(layers,)``, e.g. 1 - CKA with the state before training.
        update: ``(layers,)``, :func:`relative_update` of the same layers.

    Returns:
        ``(layers,)`` float64; NaN where the weights did not move.

    Raises:
        ValueError: Unequal shapes, or a negative update.

    Example:
        >>> drift_per_update(torch.tensor([0.5, 0.3]), torch.tensor([0.25, 0.0]))
        tensor([2., nan], dtype=torch.float64)
    """
    if drift.shape != update.shape:
        raise ValueError(
            f"drift_per_update: expected the same layers twice, got shapes {tuple(drift.shape)} and "
            f"{tuple(update.shape)}."
        )
    if bool((update < 0).any()):
        raise ValueError(f"drift_per_update: an update is a norm and cannot be negative, got {update.tolist()}.")
    divisor = update.double()
    return (drift.double() / divisor).masked_fill(divisor == 0, torch.nan)


def _squared(x: Tensor) -> Tensor:
    rows = x.detach().reshape(1, -1, x.shape[-1] if x.ndim else 1)
    return inner_products(rows, rows)[0]


def _low_rank_squared(change: LowRank, size: int, position: int) -> Tensor:
    b, a, scaling = change
    if b.ndim != 2 or a.ndim != 2 or b.shape[1] != a.shape[0] or b.shape[0] * a.shape[1] != size:
        raise ValueError(
            f"relative_low_rank_update: the factors of weight {position} have shapes {tuple(b.shape)} and "
            f"{tuple(a.shape)}, expected (outputs, rank) and (rank, inputs) of a weight with {size} entries."
        )
    b, a = b.detach().float(), a.detach().float()
    with exact_products(b.device):
        return scaling**2 * ((b.mT @ b).double() * (a @ a.mT).double()).sum()


def _ratio(changed: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    device = weights[0].device
    total = torch.stack([part.to(device) for part in weights]).sum()
    moved = torch.stack([part.to(device) for part in changed]).sum() if changed else torch.zeros_like(total)
    return (moved / total).sqrt().masked_fill(total == 0, torch.nan)
