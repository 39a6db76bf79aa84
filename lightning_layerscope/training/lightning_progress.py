"""Says how far a Lightning training has come."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from lightning_layerscope.training.progress import Progress

if TYPE_CHECKING:

    class Callback:
        """Stands for Lightning's, which has no types here."""
else:
    from pytorch_lightning import Callback


class ProgressCallback(Callback):
    """Shows optimiser steps, the loss, rows per second and the expected end of a training.

    Args:
        name: Name of the training.
        keep: Leave a line behind at its end.
    """

    def __init__(self, name: str, *, keep: bool = False) -> None:
        super().__init__()
        self._name, self._keep = name, keep
        self._progress: Progress | None = None
        self._rows = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to count."""
        steps = trainer.estimated_stepping_batches
        total = int(steps) if math.isfinite(steps) else None
        self._progress, self._rows = Progress(self._name, total, unit="steps", keep=self._keep), 0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count the step and its rows."""
        self._rows += len(batch["input_ids"])
        loss = trainer.callback_metrics.get("train/loss")
        assert self._progress is not None
        self._progress.to(trainer.global_step, "" if loss is None else f"loss {float(loss):.2f}", rows=self._rows)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """End the bar."""
        assert self._progress is not None
        self._progress.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Leave the terminal in order."""
        if self._progress is not None:
            self._progress.close()
