"""A small Llama from a configuration: no download, learns toy tasks in a minute."""

from __future__ import annotations

from typing import Any

import torch


def small_llama(
    tokenizer: Any,
    *,
    width: int = 128,
    layers: int = 8,
    heads: int = 4,
    max_length: int = 1024,
    seed: int = 0,
) -> Any:
    """Build a Llama with random weights; input and output embeddings are tied.

    Args:
        tokenizer: Gives the vocabulary and the special tokens.
        width: Width of the hidden states.
        layers: Number of decoder blocks.
        heads: Attention heads; ``width`` is a multiple of twice their number.
        max_length: Longest text in tokens.
        seed: Seed of the weights; the global generators are left alone.

    Returns:
        A ``transformers.LlamaForCausalLM`` in float32.

    Raises:
        ValueError: For sizes that do not fit together.
    """
    if min(width, layers, heads, max_length) < 1 or width % (2 * heads):
        raise ValueError(
            f"expected positive sizes and a width that is a multiple of 2 x heads, got width={width}, layers={layers}, "
            f"heads={heads}, max_length={max_length}"
        )
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        # Llama's own proportion, 8/3, in multiples of 16.
        intermediate_size=max(16, round(width * 8 / 3 / 16) * 16),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=max_length,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)
