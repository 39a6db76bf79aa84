"""Does a faster way give the states of the plain one? Found out on one prompt per model and class of lengths."""

from __future__ import annotations

from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from lightning_layerscope.compat.torch import products_are_reduced
from lightning_layerscope.compat.transformers import attention_implementation

# Largest relative deviation that rounding explains; a wrong mask or position gives .01 and more.
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8}
_TOLERANCE_COARSE = 5e-2


class Called(Protocol):
    """What is called for a forward pass."""

    @property
    def call(self) -> nn.Module:
        """The module that is called."""

    @property
    def language_model(self) -> nn.Module | None:
        """The transformers model inside it, where there is one."""

    @property
    def device(self) -> torch.device:
        """Where the token ids go."""


class EquivalenceCache:
    """What was found out about models: whether a way gives the same states as the plain one.

    What was found holds for one model under one dtype, precision, attention implementation and kind of device. That a
    way is exact holds for lengths like those it was tried with alone (the next power of two is the same): a model may
    treat long prompts otherwise than short ones. That it is not exact holds for all lengths.
    """

    def __init__(self) -> None:
        self._entries: WeakKeyDictionary[nn.Module, dict[Any, bool]] = WeakKeyDictionary()

    def get(self, target: Called, *lengths: int) -> bool | None:
        """Whether the way is exact for a batch of these lengths (its longest, its shortest); None: not known."""
        entries = self._entries.get(target.call, {})
        if entries.get(_key(target)) is False:
            return False
        return entries.get((*_key(target), *_classes(lengths)))

    def set(self, target: Called, exact: bool, *lengths: int) -> None:
        """Remember it for as long as the model lives."""
        key = (*_key(target), *_classes(lengths)) if exact else _key(target)
        self._entries.setdefault(target.call, {})[key] = exact


def tolerance(target: Called) -> float:
    """The largest relative deviation of a model's states that rounding explains."""
    return _TOLERANCE_COARSE if _coarse(target) else _TOLERANCE.get(_dtype(target), _TOLERANCE_COARSE)


def deviation(states: Tensor, expected: Tensor) -> float:
    """The largest relative deviation over layers of ``(layers, width)``."""
    states, expected = states.float(), expected.float()
    return float(((states - expected).norm(dim=-1) / expected.norm(dim=-1).clamp_min(1e-30)).max())


def _key(target: Called) -> tuple[Any, ...]:
    attention = attention_implementation(target.language_model)
    return _dtype(target), _coarse(target), attention, target.device.type


def _classes(lengths: tuple[int, ...]) -> tuple[int, ...]:
    return tuple((length - 1).bit_length() for length in lengths)


def _dtype(target: Called) -> torch.dtype:
    return next((p.dtype for p in target.call.parameters() if p.is_floating_point()), torch.float32)


def _coarse(target: Called) -> bool:
    half = _dtype(target) in (torch.bfloat16, torch.float16)
    return half or torch.is_autocast_enabled(target.device.type) or products_are_reduced()
