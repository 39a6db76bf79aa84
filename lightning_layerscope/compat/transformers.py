"""What is known of models of transformers beyond their documented interface; told without importing the library."""

from __future__ import annotations

from typing import Any, cast

from torch import nn


def is_pretrained(module: nn.Module) -> bool:
    """Whether this is a model of transformers."""
    return _has_base(module, "PreTrainedModel")


def text_config(module: nn.Module | None) -> Any:
    """The configuration of a module's text part, or None."""
    config: Any = getattr(module, "config", None)
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def input_embedding(module: nn.Module) -> nn.Module | None:
    """The token embedding as the model itself tells it."""
    getter = getattr(module, "get_input_embeddings", None)
    if getter is None:
        return None
    try:
        return cast("nn.Module | None", getter())
    except (NotImplementedError, AttributeError):  # raised where a model has none (vision, audio)
        return None


def learned_positions(model: nn.Module | None, embedding: nn.Module | None) -> tuple[int | None, str]:
    """How many positions a model with a learned table of positions has, and the table's name; others extrapolate."""
    limit = getattr(text_config(model), "max_position_embeddings", None)
    if model is None or not isinstance(limit, int):
        return None, ""
    for name, module in model.named_modules():
        last = name.rpartition(".")[2]
        of_positions = (last == "wpe" or "position" in last) and "bias" not in last
        if not isinstance(module, nn.Embedding) or module is embedding or not of_positions:
            continue
        if module.num_embeddings >= limit:
            # RoBERTa and its kin count positions from the padding id on, so the table is longer than its usable part.
            offset = 0 if module.padding_idx is None else module.padding_idx + 1
            return (module.num_embeddings - offset if offset else limit), name
    return None, ""


def is_checkpointing_layer(module: nn.Module) -> bool:
    """Whether this is a layer that gradient checkpointing knows: one of the stack that hidden states flow through."""
    return _has_base(module, "GradientCheckpointingLayer")


def is_conv1d(module: nn.Module) -> bool:
    """Whether this is GPT-2's linear layer, whose weight is transposed."""
    return type(module).__name__ == "Conv1D" and type(module).__module__.startswith("transformers.")


def attention_implementation(module: nn.Module | None) -> str | None:
    """Which kernel computes attention (``"eager"``, ``"sdpa"``, ...)."""
    return getattr(getattr(module, "config", None), "_attn_implementation", None)


def model_name(module: nn.Module) -> str:
    """What the model was loaded from; empty where it was made anew."""
    return str(getattr(getattr(module, "config", None), "_name_or_path", "") or "")


def rescales_when_evaluated(model: nn.Module) -> bool:
    """Whether this is an RWKV that would divide its weights in the first evaluation."""
    every = getattr(text_config(model), "rescale_every", 0)
    pending = any(getattr(module, "layers_are_rescaled", True) is False for module in model.modules())
    return pending and isinstance(every, int) and every > 0


def is_hub_adapter(name: str) -> bool:
    """Whether a hub name (or a folder) is that of a PEFT adapter; False where nothing can be found out."""
    from transformers.utils.peft_utils import find_adapter_config_file

    try:
        return find_adapter_config_file(name) is not None
    except (OSError, ValueError):
        return False


def dtype_keyword() -> str:
    """What ``from_pretrained`` calls the dtype of the weights: ``dtype`` since 4.56, before it ``torch_dtype``."""
    import transformers

    major, minor = (int(part) for part in transformers.__version__.split(".")[:2])
    return "dtype" if (major, minor) >= (4, 56) else "torch_dtype"


def _has_base(module: nn.Module, name: str) -> bool:
    return any(c.__name__ == name and c.__module__.startswith("transformers.") for c in type(module).__mro__)
