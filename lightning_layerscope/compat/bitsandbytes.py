"""What is known of bitsandbytes."""

from __future__ import annotations

from torch import nn


def repacks_in_evaluation(module: nn.Module) -> bool:
    """Whether it is a 4-bit layer of bitsandbytes.

    On CPUs with bfloat16 instructions these repack their weights when they are evaluated, and not back to the bit. The
    mode changes nothing else in them.
    """
    return any(c.__name__ == "Linear4bit" and c.__module__.startswith("bitsandbytes.") for c in type(module).__mro__)
