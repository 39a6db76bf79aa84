"""Switch a model's adapters off for a while, so that the base model answers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import nn

from lightning_layerscope.compat.peft import has_injected_adapters, is_peft_model, merged_layers
from lightning_layerscope.extraction import no_trace
from lightning_layerscope.wording import count


def has_adapters(model: nn.Module) -> bool:
    """Whether adapters of PEFT are somewhere in the model, as a wrapper or injected by transformers."""
    return any(is_peft_model(module) or has_injected_adapters(module) for module in model.modules())


def check_separable(model: nn.Module) -> None:
    """Refuse a model whose adapters cannot be switched off without a trace.

    Raises:
        ValueError: When there are no adapters, or some are merged into the weights: without them the weights would have
            to be computed anew, and rounding makes others of them.
    """
    if not has_adapters(model):
        raise ValueError(
            f'reference="base" is the model with its adapters off, but {type(model).__name__} has none: '
            'use reference="initial" for full fine-tuning.'
        )
    if merged := [name for name, _ in merged_layers(model)]:
        layers = count(len(merged), "layer has", "layers have")
        raise ValueError(
            f'reference="base" is the model with its adapters off, but {layers} theirs merged '
            f"into the weights (the first: {merged[0]}), and taking them out would change the model by rounding. Call "
            'model.unmerge_adapter() before training, or use reference="initial".'
        )


@contextlib.contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """Run the block on the base model; adapters, gradients and modes are as before afterwards.

    Args:
        model: Holds one or several PEFT models.

    Raises:
        ValueError: As :func:`check_separable`, before anything is switched.
    """
    check_separable(model)
    # Leaving disable_adapter() sets requires_grad anew: the guard around it puts the user's choice back.
    with no_trace(model), contextlib.ExitStack() as stack:
        for module in model.modules():
            owner: Any = module
            if is_peft_model(module):
                stack.enter_context(owner.disable_adapter())
            elif has_injected_adapters(module):
                owner.disable_adapters()
                stack.callback(owner.enable_adapters)
        yield
