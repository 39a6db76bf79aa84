"""What is called for a forward pass, and how: the language model inside wrappers, or the user's own callable."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_layerscope.compat.accelerate import execution_device, is_dispatched
from lightning_layerscope.compat.deepspeed import has_partitioned_parameters
from lightning_layerscope.compat.peft import is_peft_wrapper, virtual_tokens
from lightning_layerscope.compat.torch import has_sharded_parameters, is_fsdp1
from lightning_layerscope.compat.transformers import is_pretrained, model_name, text_config
from lightning_layerscope.compat.transformers_rope import LengthRopes, length_ropes
from lightning_layerscope.extraction.capture import DeepestLayerReached
from lightning_layerscope.extraction.layers import DecoderLayers, find_layers

Forward = Callable[[nn.Module, Tensor, Tensor], Any]


@dataclass(frozen=True)
class Target:
    """A model made ready for forward passes.

    Attributes:
        stack: Its layers.
        call: The module that is called.
        language_model: The transformers model inside PEFT and other wrappers, or None for other modules.
        forward: The user's callable ``(model, input_ids, attention_mask)``, or None.
        root: The model as the user gave it, for ``forward``.
        decoder_start: Id the decoder of an encoder-decoder starts with, when the layers are the decoder's; else None.
        interruptible: Whether a forward pass may be broken off (not under sharding or offloading).
        virtual_tokens: Positions that prompt tuning puts before each prompt.
        ropes: Rotary embeddings that depend on the length of a batch, or None.
    """

    stack: DecoderLayers
    call: nn.Module
    language_model: nn.Module | None
    forward: Forward | None
    root: nn.Module
    decoder_start: int | None
    interruptible: bool
    virtual_tokens: int
    ropes: LengthRopes | None

    @property
    def name(self) -> str:
        """What the model calls itself."""
        named = self.language_model or self.root
        return model_name(named) or type(named).__name__

    @property
    def device(self) -> torch.device:
        """Where the token ids go."""
        weight = getattr(self.stack.embedding, "weight", None)
        device = weight.device if isinstance(weight, Tensor) else next((p.device for p in self.call.parameters()), None)
        if device is None or device.type == "meta":
            device = execution_device(self.call) or torch.device("cpu")
        return device

    @property
    def accepted(self) -> frozenset[str]:
        """Names of the keyword arguments that the language model's forward takes."""
        return (
            frozenset(inspect.signature(self.language_model.forward).parameters) if self.language_model else frozenset()
        )

    @property
    def regime(self) -> Callable[[int], Hashable] | None:
        """From a prompt's length to what prompts must share to go through together; None: any may."""
        ropes, before = self.ropes, self.virtual_tokens
        return None if ropes is None else lambda length: ropes.regime(length + before)

    def run(self, input_ids: Tensor, attention_mask: Tensor, **extra: Any) -> None:
        """One forward pass over ``(B, T)`` ids; what it computes stays with the hooks.

        Logits are never wanted: breaking off in the deepest layer avoids them, ``logits_to_keep`` reduces them
        otherwise.
        """
        if self.ropes is not None:
            self.ropes.reset()
        with contextlib.suppress(DeepestLayerReached):
            if self.forward is not None:
                self.forward(self.root, input_ids, attention_mask)
                return
            accepted = self.accepted
            keywords: dict[str, Any] = {"use_cache": False, "logits_to_keep": 1}
            keywords = {key: value for key, value in keywords.items() if key in accepted} | extra
            if self.decoder_start is not None:
                shape = (len(input_ids), 1)
                keywords["decoder_input_ids"] = torch.full(shape, self.decoder_start, device=input_ids.device)
            self.call(input_ids=input_ids, attention_mask=attention_mask, **keywords)


def find_target(
    model: nn.Module, layer_modules: str | Sequence[nn.Module] | None = None, forward: Forward | None = None
) -> Target:
    """Find the layers of a model and what to call so that they run.

    Raises:
        ValueError: When the layers cannot be found, or nothing is known about how to call the model.
    """
    stack = find_layers(model, layer_modules)
    above = _path(model, stack.names[0])
    outer = next((module for module in above if is_pretrained(module) or is_peft_wrapper(module)), None)
    if outer is None and forward is None:
        raise ValueError(
            f"{type(model).__name__} holds no transformers model around {stack.names[0]!r}, so it is unknown "
            "how to call it: "
            "give forward=, a callable (model, input_ids, attention_mask) that runs the layers."
        )
    base: Any = getattr(outer, "get_base_model", None)
    language_model: nn.Module | None = outer if base is None else base()
    call, decoder_start = outer or model, None
    if language_model is not None and getattr(language_model.config, "is_encoder_decoder", False) and forward is None:
        call, decoder_start = _part_of_encoder_decoder(language_model, call, stack)
        if decoder_start is None:
            language_model = call
    return Target(
        stack=stack,
        call=next((module for module in above if is_fsdp1(module)), call),
        language_model=language_model,
        forward=forward,
        root=model,
        decoder_start=decoder_start,
        interruptible=not _sharded_or_offloaded(model),
        virtual_tokens=virtual_tokens(outer),
        ropes=length_ropes(model),
    )


def _path(model: nn.Module, name: str) -> list[nn.Module]:
    """The modules from the root down to (without) the named one."""
    path = [model]
    for part in name.split(".")[:-1]:
        path.append(getattr(path[-1], part))
    return path


def _part_of_encoder_decoder(model: Any, call: nn.Module, stack: DecoderLayers) -> tuple[nn.Module, int | None]:
    """The encoder alone, or the whole model with the decoder's start token."""
    encoder = model.get_encoder()
    if any(module is stack.modules[0] for module in encoder.modules()):
        return encoder, None
    start = getattr(model.config, "decoder_start_token_id", None)
    if start is None:
        start = getattr(text_config(model), "bos_token_id", None)
    if start is None:
        raise ValueError(
            f"{type(model).__name__} is read at its decoder, but its config has no decoder_start_token_id; set it."
        )
    return call, int(start)


def _sharded_or_offloaded(model: nn.Module) -> bool:
    """Whether parameters live elsewhere between the layers' turns; then every pass must come to its end."""
    return has_sharded_parameters(model) or has_partitioned_parameters(model) or is_dispatched(model)
