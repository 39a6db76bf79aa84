"""Relative update of every layer of a model: off its adapters, or against what its weights were before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lightning_layerscope.extraction import find_layers
from lightning_layerscope.functional.update import LowRank, relative_low_rank_update, relative_update


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
            weights are quantised, or adapters are on parameters that are no matrix of their own.
    """
    return torch.stack([_layer(layer) for layer in find_layers(model).modules])


@torch.no_grad()
def full_updates(model: nn.Module, before: Callable[[str], Tensor]) -> Tensor:
    """Relative update of each layer's matrices against what they were before.

    Args:
        model: Whose weights are all there, unsharded.
        before: Gives a parameter as it was, by its name in the model; those of a layer lie in memory together.

    Returns:
        ``(layers,)`` float64 on the CPU.

    Raises:
        ValueError: For a parameter of another shape than before, or quantised weights.
    """
    updates = [
        relative_update([before(name) for name in names], [model.get_parameter(name).detach() for name in names])
        for names in layer_matrices(model)
    ]
    return torch.stack([each.cpu() for each in updates])


def layer_matrices(model: nn.Module) -> list[list[str]]:
    """Per layer the names of its weights of two dimensions and more, in the model's own order."""
    layers = [{id(weight) for weight in layer.parameters()} for layer in find_layers(model).modules]
    named = [(name, id(weight)) for name, weight in model.named_parameters() if weight.ndim > 1]
    return [[name for name, own in named if own in inside] for inside in layers]


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
    weight: Tensor | None = getattr(module, "weight", None)
    if weight is None:
        raise ValueError(
            f"{name} has adapters on parameters of another form (target_parameters), whose update is not that of two "
            "factors."
        )
    if not weight.is_floating_point():
        raise ValueError(f"the weight of {name} is quantised ({weight.dtype}); its norm is not that of its numbers.")
    return weight.detach()


def _low_rank(module: Any, name: str) -> LowRank | None:
    active = [adapter for adapter in module.active_adapters if adapter in module.lora_A]
    if not active or module.disable_adapters:
        return None
    if len(active) > 1:
        raise ValueError(f"{name} has several active adapters, {active}; activate one to measure its update.")
    (adapter,) = active
    b, a = module.lora_B[adapter].weight.detach(), module.lora_A[adapter].weight.detach()
    return LowRank(b, a, float(module.scaling[adapter]))
