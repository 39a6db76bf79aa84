"""Well-conditioned matrices, as KappaTune chooses them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from lightning_layerscope._extras import require
from lightning_layerscope.advice.selection import Selection
from lightning_layerscope.advice.targets import Targets


def best_conditioned(targets: Targets, ranking: Sequence[str], budget: int, rank: int) -> Selection:
    r"""The matrices with the smallest condition numbers, until they hold the budget of parameters.

    .. math:: \kappa(W) = \sigma_\text{max} / \sigma_\text{min}

    Source: Ludwig 2025, "KappaTune" (arXiv 2506.16289). A matrix with a small condition number holds no strongly
    preferred directions that an update could destroy. The rule names matrices, not layers, so its budget counts
    parameters.

    Args:
        targets: The matrices that may get an adapter.
        ranking: Their full names, the best conditioned first (:func:`condition_ranking`).
        budget: Parameters to spend at ``rank``. The last matrix may exceed it by half of its own, which lowers ranks
            later.
        rank: Rank of every adapter.

    Raises:
        ValueError: For a ranking of other matrices, or a budget below one matrix at that rank.
    """
    by_name = {module.name: module for module in targets.modules}
    if set(ranking) != set(by_name):
        raise ValueError(
            f"best_conditioned: expected a ranking of the {len(by_name)} targets, got {len(ranking)} names."
        )
    chosen: list[str] = []
    spent = 0
    for name in ranking:
        size = rank * by_name[name].size
        if spent + size / 2 > budget:
            break
        chosen.append(name)
        spent += size
    if not chosen:
        raise ValueError(f"best_conditioned: a budget of {budget} parameters is less than one matrix at rank {rank}.")
    layers = sorted({by_name[name].layer for name in chosen})
    return Selection("condition-number", tuple(layers), modules=tuple(sorted(chosen)))


def condition_ranking(weights: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
    """Names of matrices by condition number, the smallest first, as ``peft.helpers.KappaTuneSelector`` ranks them.

    Args:
        weights: By full name.

    Raises:
        ImportError: Where peft is missing or older than 0.21; the message holds the pip command.
    """
    helpers = require("peft.helpers", "peft")
    if not hasattr(helpers, "KappaTuneSelector"):
        raise ImportError('condition numbers are those of peft.helpers.KappaTuneSelector: pip install "peft>=0.21"')
    ranking = helpers.KappaTuneSelector(_linear_layers(weights), show_progress=False).get_best_targets()
    return tuple(name.replace(_DOT, ".") for name in ranking)


#: Stands for a dot in the name of a module, which torch does not allow.
_DOT = "/"


def _linear_layers(weights: Mapping[str, torch.Tensor]) -> nn.Module:
    """The matrices alone, as linear layers: no time is spent on others, and GPT-2's transposed ones are seen."""
    holder = nn.Module()
    for name, weight in weights.items():
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        layer.weight = nn.Parameter(weight.detach(), requires_grad=False)
        holder.add_module(name.replace(".", _DOT), layer)
    return holder
