"""What is known of Lightning's ``Trainer`` beyond its documented interface, in both namespaces."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def add_callback_metrics(trainer: Any, values: Mapping[str, float]) -> None:
    """Let other callbacks watch these numbers. ``callback_metrics`` is the trainer's own dict, which a fit keeps."""
    import torch

    trainer.callback_metrics.update({key: torch.tensor(value) for key, value in values.items()})


def planned_steps(trainer: Any) -> int | None:
    """Optimiser steps of the run. Not ``estimated_stepping_batches``, which may make the dataloader anew."""
    if trainer.max_steps is not None and trainer.max_steps > 0:
        return int(trainer.max_steps)
    batches, epochs = trainer.num_training_batches, trainer.max_epochs
    if epochs is None or epochs < 0 or not math.isfinite(batches):
        return None
    return int(math.ceil(batches / trainer.accumulate_grad_batches) * epochs)


def is_fitting(trainer: Any) -> bool:
    """Whether a training is under way, its sanity check and other entry points aside."""
    return not trainer.sanity_checking and str(getattr(trainer.state.fn, "value", trainer.state.fn)) == "fit"


def is_whole_sanity_check(trainer: Any) -> bool:
    """Whether the validation before training is a whole one."""
    return bool(trainer.sanity_checking and math.isinf(trainer.num_sanity_val_steps))


def flattened_loaders(trainer: Any) -> list[Any]:
    """The validation dataloaders in the order in which the trainer runs them."""
    own = any(base.__module__.startswith("lightning.pytorch") for base in type(trainer).__mro__)
    namespace = "lightning.pytorch" if own else "pytorch_lightning"
    combined = importlib.import_module(f"{namespace}.utilities").CombinedLoader
    return list(combined(trainer.val_dataloaders, "sequential").flattened)


def logger_folder(logger: Any) -> Path | str | None:
    """A folder of this run's own, as checkpoints have: the logger's, or its project and version.

    Returns:
        The folder; the text that the logger gives where that is no local path; None where it has none.
    """
    own = getattr(logger, "log_dir", None)
    if own:
        return _local(own)
    root = getattr(logger, "save_dir", None)
    if not root:
        return None
    local = _local(root)
    if isinstance(local, str):
        return local
    version = getattr(logger, "version", None)
    version = f"version_{version}" if isinstance(version, int) else str(version or "")
    return local / str(getattr(logger, "name", None) or "") / version


def keeps_its_folder(logger: Any) -> bool:
    """Whether a logger's folder stays where it is: it writes files, and nothing uploads them as a whole."""
    return any(base.__name__ in ("TensorBoardLogger", "CSVLogger") for base in type(logger).__mro__)


def _local(path: Any) -> Path | str:
    return str(path) if "://" in str(path) else Path(path)
