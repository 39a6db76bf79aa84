"""Moves a progress bar along a Lightning training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning_layerscope.training.bars import Bar

if TYPE_CHECKING:

    class Callback:
        """Stands for Lightning's, which has no types here."""
else:
    from pytorch_lightning import Callback


class ProgressCallback(Callback):
    """Moves a bar along a Lightning training of ``max_steps``.

    Args:
        bar: the bar.
    """

    def __init__(self, bar: Bar) -> None:
        super().__init__()
        self._bar = bar

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Show optimiser steps and the loss."""
        loss = trainer.callback_metrics.get("train/loss")
        self._bar.to(trainer.global_step, "" if loss is None else f"loss {float(loss):.2f}")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the bar."""
        self._bar.close()
