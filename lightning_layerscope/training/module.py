"""A causal language model with its loss and optimiser, for Lightning."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from lightning_layerscope.compat.torch import is_compiled
from lightning_layerscope.training.frozen_casts import FrozenCasts
from lightning_layerscope.training.loss import answer_loss, mean_loss

if TYPE_CHECKING:

    class LightningModule(nn.Module):
        """Stands for Lightning's, which has no types here."""

        trainer: Any
        log: Any
else:
    from pytorch_lightning import LightningModule


class InstructionModule(LightningModule):
    """Fine-tunes a model on answers: the prompt's tokens are read, not learned.

    AdamW over the parameters that require gradients (all, or the adapters), linear warm-up and a cosine decay to 0 over
    the run's optimiser steps. Logs ``train/loss`` and ``train/learning_rate``, and in validation ``val/loss/<task>``:
    cross-entropy per answer token, in nats.

    Args:
        model: A causal language model of transformers, with or without adapters. It is put into training mode: models
            come from ``from_pretrained`` in evaluation mode, in which dropout is off, and Lightning leaves that so.
        tokenizer: Kept for those who ask the module for one (a monitor, for instance).
        learning_rate: At its peak; the default is the paper's.
        warmup: Share of the optimiser steps over which it rises.
        schedule: ``"cosine"`` or ``"constant"`` after the warm-up.
        weight_decay: Weight decay of AdamW, on matrices alone.
        betas: The two decay rates of AdamW.
        pack: Put a beginning that all rows of a training batch have through the model once, where that pays
            and gives the same loss but for rounding; see ``answer_loss``.

    Raises:
        ValueError: For options out of range, or a model without trainable parameters.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any = None,
        *,
        learning_rate: float = 5e-5,
        warmup: float = 0.03,
        schedule: Literal["cosine", "constant"] = "cosine",
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        pack: bool = True,
    ) -> None:
        super().__init__()
        if not learning_rate > 0 or not 0 <= warmup < 1 or weight_decay < 0:
            raise ValueError(
                "expected learning_rate > 0, 0 <= warmup < 1 and weight_decay >= 0, got "
                f"{learning_rate}, {warmup}, {weight_decay}"
            )
        if schedule not in ("cosine", "constant"):
            raise ValueError(f'schedule must be "cosine" or "constant", got {schedule!r}')
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ValueError("no parameter of the model requires gradients, so there is nothing to train")
        self.model = model.train()
        self.tokenizer = tokenizer
        self.learning_rate = learning_rate
        self.warmup = warmup
        self.schedule = schedule
        self.weight_decay = weight_decay
        self.betas = betas
        self.pack = pack
        self._frozen_casts: FrozenCasts | None = None

    def forward(self, **inputs: Any) -> Any:
        """The model's own forward pass."""
        return self.model(**inputs)

    def on_fit_start(self) -> None:
        """Keep casts of frozen weights from here on; compiled code would have to be made anew for that."""
        if not any(is_compiled(part) for part in self.model.modules()):
            self._frozen_casts = FrozenCasts()

    def on_fit_end(self) -> None:
        """Let go of them."""
        self._frozen_casts = None

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Mean cross-entropy over the answer tokens of the batch."""
        with self._frozen_casts if torch.is_autocast_enabled("cpu") and self._frozen_casts else nullcontext():
            losses = answer_loss(self.model, batch, pack=self.pack)
        loss = mean_loss(losses)
        self.log("train/loss", loss.detach(), batch_size=len(losses.tokens), prog_bar=True)
        self.log("train/learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"])
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Log the loss under the name of the loader, which is the task."""
        losses = answer_loss(self.model, batch)
        loaders = self.trainer.val_dataloaders
        name = list(loaders)[dataloader_idx] if isinstance(loaders, dict) else str(dataloader_idx)
        # Weighed by tokens, so that the epoch's mean is over tokens, as in evaluate_tasks.
        self.log(f"val/loss/{name}", mean_loss(losses), batch_size=int(losses.tokens.sum()), add_dataloader_idx=False)

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW with one learning rate, its schedule counted in optimiser steps."""
        trainable = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        groups = [
            {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": self.weight_decay},
            {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]], lr=self.learning_rate, betas=self.betas
        )
        steps = self.trainer.estimated_stepping_batches
        if not math.isfinite(steps) and self.schedule == "cosine":
            raise ValueError('a cosine schedule needs an end: set max_steps or max_epochs, or schedule="constant"')
        scheduler = self._scheduler(optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _scheduler(self, optimizer: torch.optim.Optimizer, steps: float) -> Any:
        """The schedule of transformers from its second step on: in its first the learning rate is 0."""
        from transformers import get_constant_schedule_with_warmup, get_cosine_schedule_with_warmup

        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]  # wanted by a schedule that does not begin at its beginning
        rising = (round(self.warmup * steps) if math.isfinite(steps) else 0) + 1
        if self.schedule == "constant":
            return get_constant_schedule_with_warmup(optimizer, rising, last_epoch=0)
        return get_cosine_schedule_with_warmup(optimizer, rising, int(steps) + 1, last_epoch=0)
