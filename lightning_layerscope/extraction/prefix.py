"""Keys and values of a beginning that many prompts share, computed once."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_layerscope.compat.peft import puts_something_before
from lightning_layerscope.compat.transformers_cache import (
    cache_keyword,
    new_prefix_cache,
    remembers_keys_and_values_only,
)
from lightning_layerscope.extraction.capture import Capture
from lightning_layerscope.extraction.exactness import EquivalenceCache, deviation, tolerance
from lightning_layerscope.extraction.target import Target
from lightning_layerscope.extraction.token_choice import Selection

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
        self._cache_keyword = cache_keyword(target.accepted)
        self.possible = (
            model is not None
            and target.forward is None
            and target.interruptible
            and target.decoder_start is None
            and self._cache_keyword != ""
            and "use_cache" in target.accepted
            and remembers_keys_and_values_only(model)
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
            shared: States of a prompt behind the cached prefix.
            plain: States of the same prompt without a cache.
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
        cache = new_prefix_cache()
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
