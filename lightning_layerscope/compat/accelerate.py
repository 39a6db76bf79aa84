"""What is known of accelerate."""

from __future__ import annotations

from torch import nn


def is_dispatched(model: nn.Module) -> bool:
    """Whether accelerate moves parameters in and out around the layers' turns (``device_map``, offloading)."""
    return any(hasattr(module, "_hf_hook") for module in model.modules())
