"""Ranks for which different layers hold equally many trainable parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightning_layerscope.advice.selection import Selection
from lightning_layerscope.advice.targets import TargetModule, Targets

#: Two trials are at equal budgets when their parameters differ by no more than this share.
TOLERANCE = 0.01


def equal_ranks(targets: Targets, selection: Selection, budget: int) -> dict[str, int]:
    """Ranks of a selection's adapters that spend a budget of parameters, to within 1 %.

    All matrices get the same rank; what is left over raises the rank of whole layers by one, those with the highest
    scores first, and then of single matrices.

    Args:
        targets: The matrices there are.
        selection: The layers, or matrices, to train.
        budget: Parameters (:meth:`Targets.budget`).

    Returns:
        Full name of each chosen matrix to its rank, in order of the layers.

    Raises:
        ValueError: When the selection holds no target, or no ranks of 1 or more come within 1 % of the budget.
    """
    chosen = targets.in_layers(selection.layers)
    if selection.modules:
        wanted = set(selection.modules)
        chosen = tuple(module for module in chosen if module.name in wanted)
    if not chosen:
        raise ValueError(f"{selection.selector}: the layers {selection.layers} hold none of {targets.kinds}.")
    size = sum(module.size for module in chosen)
    ranks = {module.name: budget // size for module in chosen}
    rest = budget - budget // size * size
    for group in [*_by_layer(chosen, selection), *([module] for module in sorted(chosen, key=_largest_first))]:
        cost = sum(module.size for module in group)
        if cost <= rest and all(ranks[module.name] == budget // size for module in group):
            rest -= cost
            for module in group:
                ranks[module.name] += 1
    spent = parameters(targets, ranks)
    if min(ranks.values()) < 1 or abs(spent - budget) > TOLERANCE * budget:
        raise ValueError(
            f"{selection.selector}: no ranks of its {len(chosen)} matrices come within 1 % of {budget} parameters "
            f"(rank 1 everywhere takes {size}); give the budget a higher rank or more layers."
        )
    return ranks


def parameters(targets: Targets, ranks: Mapping[str, int]) -> int:
    """Trainable parameters of adapters with these ranks."""
    return sum(module.size * ranks.get(module.name, 0) for module in targets.modules)


def _by_layer(chosen: Sequence[TargetModule], selection: Selection) -> list[list[TargetModule]]:
    scores = selection.scores
    order = sorted({module.layer for module in chosen}, key=lambda layer: -scores[layer - 1] if scores else layer)
    return [[module for module in chosen if module.layer == layer] for layer in order]


def _largest_first(module: TargetModule) -> tuple[int, int, str]:
    return -module.size, module.layer, module.name
