"""Relative update of every layer of a model, read off its adapters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lightning_layerscope.extraction import find_layers
from lightning_layerscope.functional.update import LowRank, relative_low_rank_update


@torch.no_grad()
def adapter_updates(model: nn.Module) -> Tensor:
    """Relative update of each layer by its LoRA adapters, active ones added up, without forming a product.

    The norm of a layer is that of all its frozen matrices, so that layers without adapters are 0 and full tuning
    (``relative_update``) stands on the same scale.

    Args:
        model: With LoRA adapters of peft, unmerged.

    Returns:
        ``(layers,)`` float64 on the CPU.

    Raises:
        ValueError: When several adapters are active on one matrix (their sum is no product of two factors), or the
            weights are quantised.
    """
    return torch.stack([_layer(layer) for layer in find_layers(model).modules])


def _layer(layer: nn.Module) -> Tensor:
    weights: list[Tensor] = []
    changes: list[LowRank | None] = []
    inside: set[int] = set()
    for name, module in layer.named_modules():
        if id(module) in inside:
            continue
        if hasattr(module, "lora_A") and hasattr(module, "get_base_layer"):
            weights.append(_weight(module.get_base_layer(), name))
            changes.append(_low_rank(module, name))
            inside.update(id(part) for part in module.modules())
        elif isinstance(getattr(module, "weight", None), Tensor) and module.weight.ndim == 2:
            weights.append(_weight(module, name))
            changes.append(None)
    return relative_low_rank_update(weights, changes).cpu()


def _weight(module: Any, name: str) -> Tensor:
    weight: Tensor = module.weight.detach()
    if not weight.is_floating_point():
        raise ValueError(f"the weight of {name} is quantised ({weight.dtype}); its norm is not that of its numbers.")
    return weight


def _low_rank(module: Any, name: str) -> LowRank | None:
    active = [adapter for adapter in module.active_adapters if adapter in module.lora_A]
    if not active or module.disable_adapters:
        return None
    if len(active) > 1:
        raise ValueError(f"{name} has several active adapters, {active}; activate one to measure its update.")
    (adapter,) = active
    b, a = module.lora_B[adapter].weight.detach(), module.lora_A[adapter].weight.detach()
    return LowRank(b, a, float(module.scaling[adapter]))
