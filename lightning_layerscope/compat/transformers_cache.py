"""The cache of keys and values that models of transformers take: its keyword, and one that serves a shared prefix."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from lightning_layerscope.compat.transformers import text_config

# Layer kinds whose whole memory of the past is keys and values (the rest carry a running state).
_ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}


def cache_keyword(accepted: Collection[str]) -> str:
    """What a model calls its cache: ``cache`` since transformers 5.24, before it ``past_key_values``; empty: none."""
    return next((name for name in ("cache", "past_key_values") if name in accepted), "")


def remembers_keys_and_values_only(model: nn.Module) -> bool:
    """Whether no layer of the model carries anything else from token to token."""
    return set(getattr(text_config(model), "layer_types", None) or _ATTENTION) <= _ATTENTION


def new_prefix_cache() -> Any:
    """A cache that first records a prefix, then serves it to any number of rows without growing.

    Made here because its base class lives in transformers, which is imported only by those who have such a model.
    """
    from transformers import DynamicCache

    class PrefixCache(DynamicCache):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.prefix: dict[int, tuple[Tensor, Tensor]] = {}
            self.length = 0

        def freeze(self, length: int, layers: int) -> bool:
            """Stop recording; whether every layer left keys and values of the whole prefix."""
            self.length = length
            return len(self.prefix) == layers and all(
                t.ndim >= 3 and len(t) == 1 and t.shape[-2] == length for pair in self.prefix.values() for t in pair
            )

        def update(
            self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
        ) -> tuple[Tensor, Tensor]:
            if not self.length:
                if layer_idx in self.prefix:
                    raise ValueError("a layer's keys came twice")
                self.prefix[layer_idx] = (key_states, value_states)
                return key_states, value_states
            keys, values = self.prefix[layer_idx]
            return _before(keys, key_states), _before(values, value_states)

        def get_seq_length(self, layer_idx: int | None = 0, *_: Any) -> int:
            return self.length

        def get_mask_sizes(self, query: Any, layer_idx: int = 0) -> tuple[int, int]:
            # transformers passes the number of new tokens, older versions their positions.
            return self.length + (query if isinstance(query, int) else len(query)), 0

    return PrefixCache()


def _before(prefix: Tensor, states: Tensor) -> Tensor:
    return torch.cat([prefix.expand(len(states), *prefix.shape[1:]), states], dim=-2)
