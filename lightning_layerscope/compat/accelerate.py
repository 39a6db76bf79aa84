"""What is known of accelerate."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def is_dispatched(model: nn.Module) -> bool:
    """Whether accelerate moves parameters in and out around the layers' turns (``device_map``, offloading)."""
    return any(hasattr(module, "_hf_hook") for module in model.modules())


def execution_device(model: nn.Module) -> torch.device | None:
    """Where an offloaded model computes, while its parameters lie on the meta device; None where nothing tells."""
    for module in model.modules():
        hook: Any = getattr(module, "_hf_hook", None)
        for part in (hook, *getattr(hook, "hooks", ())):  # several stand in a sequence
            device = getattr(part, "execution_device", None)
            if device is not None:
                return torch.device(device)
    return None
