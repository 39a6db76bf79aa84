"""Rotary position embeddings of transformers whose frequencies depend on the longest prompt of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class LengthRopes:
    """The rotary embeddings of one model that depend on the length.

    ``longrope`` (Phi-3, Phi-4) takes other frequencies for the whole batch as soon as one row is longer than the length
    of the pretraining; ``dynamic`` (dynamic NTK) recomputes them for every new greatest length, and keeps them for the
    shorter batches that follow. Either way a prompt has other hidden states beside longer ones, or after them, than
    alone.

    Attributes:
        parts: Module, prefix of its attributes (``""``, or ``"<layer type>_"`` where kinds of layers have their own),
            whether it is of the dynamic kind, and the length of the pretraining.
    """

    parts: tuple[tuple[nn.Module, str, bool, int], ...]

    def regime(self, length: int) -> tuple[int, ...]:
        """Prompts of one regime have the same frequencies, whichever of them are together."""
        return tuple(0 if length <= original else (length if dynamic else 1) for _, _, dynamic, original in self.parts)

    def reset(self) -> None:
        """Forget the lengths that went before, so that the next batch has the frequencies of its own length."""
        for module, prefix, dynamic, original in self.parts:
            if not dynamic:
                continue
            frequencies = getattr(module, f"{prefix}original_inv_freq")
            now = getattr(module, f"{prefix}inv_freq")
            setattr(module, f"{prefix}inv_freq", frequencies.to(now.device))
            setattr(module, f"{prefix}max_seq_len_cached", original)


def length_ropes(model: nn.Module) -> LengthRopes | None:
    """The rotary embeddings of a model that depend on the batch's length; None where there are none."""
    parts = tuple(part for module in model.modules() for part in _parts(module))
    return LengthRopes(parts) if parts else None


def _parts(module: nn.Module) -> Iterator[tuple[nn.Module, str, bool, int]]:
    kinds: Any = getattr(module, "rope_type", None)
    parameters: Any = getattr(getattr(module, "config", None), "rope_parameters", None)
    if isinstance(kinds, str):
        kinds, parameters = {"": kinds}, {"": parameters}
    if not isinstance(kinds, dict):
        return
    for layer_type, kind in kinds.items():
        prefix = f"{layer_type}_" if layer_type else ""
        if "dynamic" in kind:
            yield module, prefix, True, int(module.original_max_seq_len)  # type: ignore[arg-type]
        elif kind == "longrope":
            yield module, prefix, False, int(parameters[layer_type]["original_max_position_embeddings"])
