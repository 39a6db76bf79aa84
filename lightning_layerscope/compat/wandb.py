"""What is known of Weights & Biases, told without importing it."""

from __future__ import annotations

from typing import Any


def is_run(thing: Any) -> bool:
    """Whether this is a run of W&B (its class has moved between modules)."""
    return any(base.__module__.split(".")[0] == "wandb" and "Run" in base.__name__ for base in type(thing).__mro__)


def is_wandb_error(error: BaseException) -> bool:
    """Whether W&B itself raised this."""
    return type(error).__module__.split(".")[0] == "wandb"
