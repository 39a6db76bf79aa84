"""Switch a model's adapters off for a while, so that the base model answers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import nn

from lightning_layerscope.extraction import no_trace


def has_adapters(model: nn.Module) -> bool:
    """Whether adapters of PEFT are somewhere in the model, as a wrapper or injected by transformers."""
    return any(_is_peft(module) or _is_injected(module) for module in model.modules())


def check_adapters(model: nn.Module) -> None:
    """Refuse a model without adapters, where there is no base model to be had by switching them off.

    Raises:
        ValueError: When there are none.
    """
    if not has_adapters(model):
        raise ValueError(
            f'reference="base" is the model with its adapters off, but {type(model).__name__} has none: '
            'use reference="initial" for full fine-tuning.'
        )


@contextlib.contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """Run the block on the base model; adapters, gradients and modes are as before afterwards.

    Args:
        model: Holds one or several PEFT models.

    Raises:
        ValueError: When there are no adapters.
    """
    check_adapters(model)
    # Leaving disable_adapter() sets requires_grad anew: the guard around it puts the user's choice back.
    with no_trace(model), contextlib.ExitStack() as stack:
        for module in model.modules():
            owner: Any = module
            if _is_peft(module):
                stack.enter_context(owner.disable_adapter())
            elif _is_injected(module):
                owner.disable_adapters()
                stack.callback(owner.enable_adapters)
        yield


def _is_peft(module: nn.Module) -> bool:
    return hasattr(module, "peft_config") and hasattr(module, "disable_adapter")


def _is_injected(module: nn.Module) -> bool:
    return bool(getattr(module, "_hf_peft_config_loaded", False)) and hasattr(module, "disable_adapters")
