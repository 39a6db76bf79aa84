"""Keys and values of a beginning that many prompts share, computed once."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_layerscope.compat.peft import puts_something_before
from lightning_layerscope.extraction.capture import Capture
from lightning_layerscope.extraction.exactness import EquivalenceCache, deviation, tolerance
from lightning_layerscope.extraction.layers import text_config
from lightning_layerscope.extraction.target import Target
from lightning_layerscope.extraction.tokens import Selection

# Layer kinds whose whole memory of the past is keys and values (the rest carry a running state).
_ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}
# Whether states behind a cached prefix are those of whole prompts.
_EXACT = EquivalenceCache()


@dataclass(frozen=True)
class Prefix:
    """A prefix that went through the model: its cache, and per layer its states ``(P, width)``."""

    cache: Any
    states: dict[int, Tensor]


class PrefixSharing:
    """Decides whether a model can share prefixes, makes their caches, and checks the result once per model.

    Args:
        target: What to call.
        capture: The hooks, already in place.
    """

    def __init__(self, target: Target, capture: Capture) -> None:
        self.target, self.capture = target, capture
        model = target.language_model
        # What the model calls its cache: ``cache`` since transformers 5.24, before it ``past_key_values``.
        self._cache_keyword = next((name for name in ("cache", "past_key_values") if name in target.accepted), "")
        kinds = set(getattr(text_config(model), "layer_types", None) or _ATTENTION) if model is not None else set()
        self.possible = (
            model is not None
            and target.forward is None
            and target.interruptible
            and target.decoder_start is None
            and self._cache_keyword != ""
            and "use_cache" in target.accepted
            and kinds <= _ATTENTION
            and not puts_something_before(target.call)
            and _EXACT.get(target) is not False
        )
        self._last: tuple[tuple[int, ...], Prefix | None] | None = None

    def verified(self, longest: int) -> bool:
        """Whether sharing was found exact for this model, dtype and attention, and for batches of this length."""
        return _EXACT.get(self.target, longest) is True

    def prefix(self, ids: tuple[int, ...]) -> Prefix | None:
        """Put a prefix through the model; None where that leaves no usable cache (then prompts go through whole)."""
        if _EXACT.get(self.target) is False:
            return None
        if self._last is None or self._last[0] != ids:
            self._last = None  # frees the previous cache first
            self._last = (ids, self._make(ids))
        return self._last[1]

    def run(self, prefix: Prefix, ids: Tensor, mask: Tensor, selection: Selection) -> Tensor:
        """States ``(layers, B, width)`` of prompts of which ``ids`` (B, S) is the rest; ``mask`` is (B, P + S)."""
        states = prefix.states if selection.weights is not None else None
        self.capture.select(selection, tokens=ids.shape[1], prefix=states)
        self._run(ids, mask, prefix.cache)
        return self.capture.take()

    def verify(self, shared: Tensor, plain: Tensor, before: Tensor, after: Tensor, *, longest: int) -> bool:
        """Compare states ``(layers, width)``, and remember the outcome for the model.

        Args:
            shared: Of a prompt behind the cached prefix.
            plain: Of the same prompt without a cache.
            before: At the prefix's last token.
            after: The same when a later token is another one: equal where attention is causal.
            longest: Tokens of the batch's longest prompt, prefix included.
        """
        off, foresight, allowed = deviation(shared, plain), deviation(after, before), tolerance(self.target)
        # States that are not finite are no matter of sharing: the collector reports them.
        finite = bool(plain.isfinite().all() and before.isfinite().all())
        causal = foresight <= allowed / 50 or not finite
        good = causal and (off <= allowed or not finite)
        _EXACT.set(self.target, good, longest)
        if causal and not good:
            warnings.warn(
                f"{type(self.target.language_model).__name__} gives other hidden states when a shared beginning comes "
                f"from the cache (relative deviation {off:.1e}); prompts go through whole. share_prefix=False "
                "avoids the attempt.",
                RuntimeWarning,
                stacklevel=2,
            )
        return good

    def _make(self, ids: tuple[int, ...]) -> Prefix | None:
        cache = _new_cache()
        tensor = torch.tensor([ids], device=self.target.device)
        self.capture.select(None, tokens=len(ids))
        try:
            self._run(tensor, torch.ones_like(tensor), cache)
        except torch.OutOfMemoryError:
            raise
        except (AttributeError, IndexError, KeyError, NotImplementedError, TypeError, ValueError):
            # A model that asks its cache for more than keys and values.
            _EXACT.set(self.target, False)
            return None
        states = self.capture.take()[:, 0]
        deepest = self.capture.layers[-1] if self.capture.early_exit else self.target.stack.num_layers
        if not cache.freeze(len(ids), max(deepest, 1)):
            _EXACT.set(self.target, False)
            return None
        return Prefix(cache, {layer: states[i] for i, layer in enumerate(self.capture.layers)})

    def _run(self, ids: Tensor, mask: Tensor, cache: Any) -> None:
        self.target.run(ids, mask, use_cache=True, **{self._cache_keyword: cache})


def _new_cache() -> Any:
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
