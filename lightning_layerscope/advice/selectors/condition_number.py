"""Well-conditioned matrices, as KappaTune chooses them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from lightning_layerscope._extras import require
from lightning_layerscope.advice.selection import Selection
from lightning_layerscope.advice.targets import Targets


def best_conditioned(targets: Targets, weights: Mapping[str, torch.Tensor], budget: int, rank: int) -> Selection:
    r"""The matrices with the smallest condition numbers, until they hold the budget of parameters.

    .. math:: \kappa(W) = \sigma_\text{max} / \sigma_\text{min}

    Source: Ludwig 2025, "KappaTune" (arXiv 2506.16289), in peft's implementation, ``peft.helpers.KappaTuneSelector``. A
    matrix with a small condition number holds no strongly preferred directions that an update could destroy. The rule
    names matrices, not layers, so its budget counts parameters.

    Args:
        targets: The matrices that may get an adapter.
        weights: The weight of each, by full name.
        budget: Parameters to spend, at ``rank``; the last matrix may exceed it, which lowers a rank later.
        rank: Of every adapter.

    Raises:
        ImportError: Where peft is missing or older than 0.21; the message holds the pip command.
        ValueError: For a budget below one matrix at that rank.
    """
    helpers = require("peft.helpers", "peft")
    if not hasattr(helpers, "KappaTuneSelector"):
        raise ImportError('condition numbers are those of peft.helpers.KappaTuneSelector: pip install "peft>=0.21"')
    ranking = helpers.KappaTuneSelector(_linear_layers(weights), show_progress=False).get_best_targets()
    by_name = {module.name: module for module in targets.modules}
    chosen: list[str] = []
    spent = 0
    for key in ranking:
        module = by_name[key.replace(_DOT, ".")]
        if spent + rank * module.size / 2 > budget:
            break
        chosen.append(module.name)
        spent += rank * module.size
    if not chosen:
        raise ValueError(f"best_conditioned: a budget of {budget} parameters is less than one matrix at rank {rank}.")
    layers = sorted({by_name[name].layer for name in chosen})
    return Selection("condition-number", tuple(layers), modules=tuple(sorted(chosen)))


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
