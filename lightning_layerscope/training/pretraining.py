"""A brief pre-training on raw text, so that a new model has something that tuning can shift."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lightning_layerscope.tasks import TaskCollection
from lightning_layerscope.training.loss import device_of


def raw_texts(tasks: TaskCollection, split: str = "train") -> list[str]:
    """The text of the tasks without the answering: every question and every answer as a text of its own, each once.

    Question and answer are taken apart, so that the language is learned here and what follows what is left to tuning.

    Raises:
        ValueError: When a task does not have the split.
    """
    parts = (
        part
        for task in tasks.values()
        for example in task.split(split)
        for part in ("\n".join(filter(None, (example.instruction, example.input))), example.output)
    )
    return [text for text in dict.fromkeys(part.strip() for part in parts) if text]


def pretrain(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    steps: int,
    batch_size: int = 16,
    length: int = 64,
    learning_rate: float = 2e-3,
    warmup: float = 0.1,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Train a model to continue texts, which are shuffled and packed into blocks of equal length.

    Args:
        model: A causal language model; changed in place.
        tokenizer: The tokenizer of the model, with an end token.
        texts: Raw texts.
        steps: Optimiser steps (AdamW, warm-up and cosine, gradients clipped to norm 1).
        batch_size: Blocks per step.
        length: Tokens per block.
        learning_rate: At its peak.
        warmup: Share of the steps over which it rises.
        seed: Seed of the order; the global generators are left alone.
        progress: Called with (step, loss) after every step.

    Returns:
        The loss of every step, in nats per token.

    Raises:
        ValueError: For counts below 1, or texts that do not fill one block.
    """
    if min(steps, batch_size) < 1 or length < 2:
        raise ValueError(f"expected steps and batch_size >= 1 and length >= 2, got {steps}, {batch_size}, {length}")
    generator = torch.Generator().manual_seed(seed)
    blocks = _pack(texts, tokenizer, length, generator)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=learning_rate, total_steps=steps + 1, pct_start=warmup, cycle_momentum=False
    )
    device, history = device_of(model), []
    model.train()
    with torch.random.fork_rng():  # dropout, where the model has it
        torch.manual_seed(seed)
        for step in range(1, steps + 1):
            rows = torch.randint(len(blocks), (min(batch_size, len(blocks)),), generator=generator)
            batch = blocks[rows].to(device)
            logits = model(input_ids=batch, use_cache=False).logits[:, :-1]
            loss = cross_entropy(logits.flatten(0, 1).float(), batch[:, 1:].flatten())
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            history.append(float(loss.detach()))
            if progress is not None:
                progress(step, history[-1])
    return history


def _pack(texts: Sequence[str], tokenizer: Any, length: int, generator: torch.Generator) -> Tensor:
    """Texts in random order, each with its begin and end token, one after the other: ``(blocks, length)``."""
    order = torch.randperm(len(texts), generator=generator).tolist()
    end = tokenizer.eos_token_id
    if end is None:
        raise ValueError("pre-training needs a tokenizer with an end token, which separates the texts")
    encoded = tokenizer([texts[row] for row in order], verbose=False)["input_ids"] if texts else []
    stream = [token for ids in encoded for token in (*ids, end)]
    count = len(stream) // length
    if count < 1:
        raise ValueError(f"the texts have {len(stream)} tokens, fewer than one block of {length}; give more text")
    return torch.tensor(stream[: count * length]).view(count, length)
