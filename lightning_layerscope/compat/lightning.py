"""What is known of Lightning, in both namespaces, beyond its documented interface; told without importing it."""

from __future__ import annotations

from typing import Any


def logging_step(trainer: Any) -> int | None:
    """The step that Lightning itself logs by (``DeviceStatsMonitor``); in hooks, ``global_step`` is one ahead of it.

    Returns:
        The step; None where this version of Lightning keeps no such count.
    """
    count = getattr(trainer.fit_loop.epoch_loop, "_batches_that_stepped", None)
    return None if count is None else int(count)


def is_wandb_logger(logger: Any) -> bool:
    """Whether this is Lightning's logger for W&B, of either namespace."""
    return any(base.__name__ == "WandbLogger" for base in type(logger).__mro__)


def is_tensorboard_logger(logger: Any) -> bool:
    """Whether this is Lightning's logger for TensorBoard, of either namespace."""
    return any(base.__name__ == "TensorBoardLogger" for base in type(logger).__mro__)


def is_dummy_experiment(run: Any) -> bool:
    """Whether this is what Lightning's loggers give to rank 1 and higher in place of a run."""
    return any("DummyExperiment" in base.__name__ for base in type(run).__mro__)


def drop_anonymous(logger: Any) -> None:
    """Take back a default that ``WandbLogger`` passes on and W&B warns about before it can be told to be silent."""
    getattr(logger, "_wandb_init", {}).pop("anonymous", None)
