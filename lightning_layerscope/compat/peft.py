"""What is known of PEFT: wrappers and injected adapters, told without importing it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn


def is_peft_model(module: nn.Module) -> bool:
    """Whether this is PEFT's wrapper around a model."""
    return hasattr(module, "peft_config") and hasattr(module, "disable_adapter")


def has_injected_adapters(module: nn.Module) -> bool:
    """Whether this is a model of transformers into which its own ``add_adapter`` put adapters."""
    return bool(getattr(module, "_hf_peft_config_loaded", False)) and hasattr(module, "disable_adapters")


def merged_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Name and module of every layer whose adapter is merged into the weights at the moment."""
    for name, module in model.named_modules():
        if hasattr(module, "base_layer") and getattr(module, "merged_adapters", None):
            yield name, module


def unmerging_layers(model: nn.Module) -> list[str]:
    """Names of the layers that a forward pass would unmerge, which rewrites their weights and not to the bit.

    PEFT does so where an adapter is merged and switched off.
    """
    return [name for name, layer in merged_layers(model) if getattr(layer, "disable_adapters", False)]


def virtual_tokens(model: nn.Module | None) -> int:
    """How many positions prompt tuning and p-tuning put before the prompt (prefix tuning adds none)."""
    if not puts_something_before(model):
        return 0
    config = getattr(model, "active_peft_config", None)
    if "PREFIX" in str(getattr(config, "peft_type", "")):
        return 0
    return int(getattr(config, "num_virtual_tokens", 0) or 0)


def puts_something_before(model: nn.Module | None) -> bool:
    """Whether the model puts virtual tokens or keys before the prompt (and refuses a cache of others)."""
    config = getattr(model, "active_peft_config", None) if hasattr(model, "peft_config") else None
    return bool(getattr(config, "is_prompt_learning", False))
