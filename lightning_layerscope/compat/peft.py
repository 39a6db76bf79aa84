"""What is known of PEFT: wrappers and injected adapters, told without importing it."""

from __future__ import annotations

import contextlib
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
        if is_tuner_layer(module) and getattr(module, "merged_adapters", None):
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


def is_peft_wrapper(module: nn.Module) -> bool:
    """Whether the class is PEFT's own (``PeftModel`` or one for a task)."""
    return any(c.__name__ == "PeftModel" and c.__module__.startswith("peft.") for c in type(module).__mro__)


def forget_adapters(model: Any) -> None:
    """After ``unload()``: a PEFT that leaves configurations would take the next adapter for a second one."""
    if hasattr(model, "peft_config"):
        del model.peft_config


@contextlib.contextmanager
def switched_off(module: nn.Module) -> Iterator[None]:
    """Run the block without the adapters inside a module.

    Not by ``enable_adapters(False)``: that sets ``requires_grad`` of the adapters' parameters, too.
    """
    layers: list[Any] = [part for part in module.modules() if is_tuner_layer(part)]
    before = [layer.disable_adapters for layer in layers]
    try:
        for layer in layers:
            layer._disable_adapters = True
        yield
    finally:
        for layer, off in zip(layers, before, strict=True):
            layer._disable_adapters = off


def is_tuner_layer(module: nn.Module) -> bool:
    """Whether PEFT put an adapter on this very module."""
    return any(c.__name__ == "BaseTunerLayer" and c.__module__.startswith("peft.") for c in type(module).__mro__)
