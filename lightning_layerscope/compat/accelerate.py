"""What is known of accelerate."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lightning_layerscope.compat.trackers import tracker_kind


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


def tracker_handles(accelerator: Any) -> list[Any]:
    """What an ``Accelerator`` logs to: the own run or writer of trackers that are known, of others the scalars' way in.

    Args:
        accelerator: None has none. Its trackers are there once ``init_trackers`` was called.
    """
    handles: list[Any] = []
    for tracker in getattr(accelerator, "trackers", None) or []:
        own = tracker.name in ("wandb", "tensorboard") or tracker_kind(tracker.tracker) is not None
        handles.append(tracker.tracker if own else _Scalars(tracker))
    return handles


class _Scalars:
    """A tracker of accelerate as a logger: ``log_metrics(row, step=...)``."""

    def __init__(self, tracker: Any) -> None:
        self._tracker = tracker

    def log_metrics(self, row: dict[str, float], step: int) -> None:
        """Log one row."""
        self._tracker.log(row, step=step)
