"""Train until the loss on rows that are set aside stops improving, and keep the best model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lightning_layerscope.study.stages.records import write_record
from lightning_layerscope.training.encoding import EncodedExample
from lightning_layerscope.training.evaluation import row_losses

if TYPE_CHECKING:

    class Callback:
        """Stands for Lightning's, which has no types here."""
else:
    from pytorch_lightning import Callback

CONVERGENCE = "convergence.json"
_PATIENCE = 2
"""Epochs without a new best loss after which a training ends."""


@dataclass(frozen=True)
class Convergence:
    """How a training ended.

    Attributes:
        losses: On the rows set aside, before training and after each epoch, in nats per answer token.
        bound: Epochs that it might have taken.
    """

    losses: list[float]
    bound: int

    @property
    def best_epoch(self) -> int:
        """Whose model was kept; 0: none was better than the beginning."""
        return min(range(len(self.losses)), key=lambda epoch: self.losses[epoch])

    @property
    def at_bound(self) -> bool:
        """Whether the loss was still improving in the last epoch that it might take."""
        return self.best_epoch == self.bound


class UntilConverged(Callback):
    """Ends a training after some epochs without a new best loss, and puts the best parameters back.

    Stands before the monitor among the callbacks, so that the last measurement is of the model that is kept.

    Args:
        rows: Encoded; none of them is trained on.
        max_tokens_per_batch: Most tokens of one forward pass over the rows.
        bound: Epochs at most; the trainer's own bound.
        folder: Gets ``convergence.json``, also where the training runs in processes of its own.
    """

    def __init__(self, rows: Sequence[EncodedExample], *, max_tokens_per_batch: int, bound: int, folder: Path) -> None:
        super().__init__()
        self._rows, self._max_tokens = rows, max_tokens_per_batch
        self._bound, self._folder = bound, folder
        self._losses: list[float] = []
        self._best: dict[str, torch.Tensor] = {}

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Measure where the training begins."""
        self._measure(pl_module.model)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure, and end the training when it no longer improves."""
        self._measure(pl_module.model)
        best = Convergence(self._losses, self._bound).best_epoch
        if len(self._losses) - 1 - best >= _PATIENCE:
            trainer.should_stop = True

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Put the best parameters back and write how the training went."""
        with torch.no_grad():
            for name, parameter in _trainable(pl_module.model):
                parameter.copy_(self._best[name])
        if trainer.is_global_zero:
            write_record(Convergence(self._losses, self._bound), self._folder / CONVERGENCE)

    def _measure(self, model: Any) -> None:
        losses = row_losses(model, self._rows, max_tokens_per_batch=self._max_tokens)
        loss = float((losses.total.double() / losses.tokens).mean())
        if not self._losses or loss < min(self._losses):
            self._best = {name: parameter.detach().clone() for name, parameter in _trainable(model)}
        self._losses.append(loss)


def _trainable(model: Any) -> list[tuple[str, torch.nn.Parameter]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
