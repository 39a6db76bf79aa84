"""LoRA adapters through peft."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from lightning_layerscope._extras import require


def add_lora(
    model: nn.Module,
    *,
    target_modules: Sequence[str] = ("q_proj", "v_proj"),
    rank: int = 8,
    alpha: int = 16,
    dropout: float = 0.0,
    layers: Sequence[int] | None = None,
    seed: int = 0,
) -> Any:
    """Freeze a model and put trainable low-rank adapters on it; the defaults are the paper's.

    Args:
        model: A model of transformers.
        target_modules: Names of the linear layers that get one.
        rank: Rank of the adapters.
        alpha: Their scale is ``alpha / rank``.
        dropout: On the adapters' input.
        layers: Only in these decoder blocks, numbered 1..L as everywhere here; default all.
        seed: Seed of the adapters' weights; the global generators are left alone.

    Returns:
        The ``peft.PeftModel``.

    Raises:
        ImportError: When peft is not installed; the message holds the pip command.
        ValueError: For sizes out of range, or modules that the model does not have.
    """
    if rank < 1 or alpha <= 0 or not 0 <= dropout < 1:
        raise ValueError(f"expected rank >= 1, alpha > 0 and 0 <= dropout < 1, got {rank}, {alpha}, {dropout}")
    if layers is not None and (not layers or min(layers) < 1):
        raise ValueError(f"layers are numbered from 1, got {list(layers)}")
    peft = require("peft", "peft")
    names = [name for name, _ in model.named_modules()]
    missing = [wanted for wanted in target_modules if not any(f".{name}".endswith(f".{wanted}") for name in names)]
    if missing:
        linear = sorted({name.split(".")[-1] for name, part in model.named_modules() if isinstance(part, nn.Linear)})
        raise ValueError(f"the model has no module named {missing}; its linear layers are {linear}")
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(target_modules),
        layers_to_transform=None if layers is None else [layer - 1 for layer in layers],
        bias="none",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return peft.get_peft_model(model, config)
