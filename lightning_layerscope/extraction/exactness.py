"""Does a faster way give the states of the plain one? Found out on one prompt, once per model."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from lightning_layerscope.extraction.target import Target

# Largest relative deviation that rounding explains; a wrong mask or position gives .01 and more.
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8}
_TOLERANCE_COARSE = 5e-2


class Verdicts:
    """What was found out about models: whether a way gives the same states as the plain one.

    A verdict holds for one model under one dtype, precision, attention implementation and kind of device.
    """

    def __init__(self) -> None:
        self._found: WeakKeyDictionary[nn.Module, dict[Any, bool]] = WeakKeyDictionary()

    def get(self, target: Target) -> bool | None:
        """The verdict; None while there is none."""
        return self._found.get(target.call, {}).get(_key(target))

    def set(self, target: Target, verdict: bool) -> None:
        """Remember the verdict for as long as the model lives."""
        self._found.setdefault(target.call, {})[_key(target)] = verdict


def tolerance(target: Target) -> float:
    """The largest relative deviation of a model's states that rounding explains."""
    return _TOLERANCE_COARSE if _coarse(target) else _TOLERANCE.get(_dtype(target), _TOLERANCE_COARSE)


def deviation(states: Tensor, expected: Tensor) -> float:
    """The largest relative deviation over layers of ``(layers, width)``."""
    states, expected = states.float(), expected.float()
    return float(((states - expected).norm(dim=-1) / expected.norm(dim=-1).clamp_min(1e-30)).max())


def _key(target: Target) -> tuple[Any, ...]:
    attention = getattr(getattr(target.language_model, "config", None), "_attn_implementation", None)
    return _dtype(target), _coarse(target), attention, target.device.type


def _dtype(target: Target) -> torch.dtype:
    return next((p.dtype for p in target.call.parameters() if p.is_floating_point()), torch.float32)


def _coarse(target: Target) -> bool:
    half = _dtype(target) in (torch.bfloat16, torch.float16)
    return half or torch.is_autocast_enabled(target.device.type) or torch.get_float32_matmul_precision() != "highest"
