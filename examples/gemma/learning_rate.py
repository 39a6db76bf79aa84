"""Choose the learning rate of the study: train two tasks at several rates, and look at the loss on held-out rows.

    python learning_rate.py [--model model] [--tasks tasks] [--select sst2 multi30k_en_de] [--rates 3e-4 1e-3 3e-3 1e-2]

After every epoch it prints, for each task and rate, the held-out loss in nats per answer token.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import pytorch_lightning as pl
import torch

from lightning_layerscope.tasks import load_tasks
from lightning_layerscope.training import InstructionDataModule, InstructionModule, add_lora, load_model, score_tasks
from lightning_layerscope.training.quiet import quiet


class HeldOut(pl.Callback):
    """Scores the held-out rows after every epoch."""

    def __init__(self, name: str) -> None:
        self.name, self.begin = name, time.perf_counter()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Print one line."""
        (score,) = score_tasks(pl_module, trainer.datamodule).values()
        epoch, seconds = trainer.current_epoch + 1, time.perf_counter() - self.begin
        print(
            f"{self.name} epoch {epoch}: {score.loss:.3f} nats, {score.exact:.0%} exact ({seconds:.0f} s)", flush=True
        )


def main() -> None:
    """Train every task at every rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="model")
    parser.add_argument("--tasks", default="tasks")
    parser.add_argument("--select", nargs="+", default=["sst2", "multi30k_en_de"])
    parser.add_argument("--rates", nargs="+", type=float, default=[3e-4, 1e-3, 3e-3, 1e-2])
    parser.add_argument("--rows", type=int, default=100, help="to train on")
    parser.add_argument("--held-out", type=int, default=64, help="rows to score")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=8)
    options = parser.parse_args()
    tasks = load_tasks(options.tasks, splits=["train", "test"])
    with quiet():
        for name in options.select:
            for rate in options.rates:
                model, tokenizer = load_model(options.model, dtype="float32")
                data = InstructionDataModule(
                    tasks.select([name]),
                    tokenizer,
                    batch_size=options.batch_size,
                    max_length=256,
                    max_examples_per_task=options.rows,
                    max_test_examples=options.held_out,
                )
                torch.manual_seed(0)
                module = InstructionModule(add_lora(model), tokenizer, learning_rate=rate, schedule="constant")
                trainer = pl.Trainer(
                    max_epochs=options.epochs,
                    accelerator="cpu",
                    callbacks=[HeldOut(f"{name} at {rate:g},")],
                    logger=False,
                    enable_checkpointing=False,
                    enable_progress_bar=False,
                    enable_model_summary=False,
                    limit_val_batches=0,
                )
                trainer.fit(module, datamodule=data)


if __name__ == "__main__":
    main()
