"""Attach the monitor to a Lightning run: the module and the data loader are yours, the monitor is one line."""

import argparse
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader

from lightning_layerscope import LayerProfile, ProbeSet
from lightning_layerscope.callbacks import LayerSimilarityMonitor
from lightning_layerscope.tasks import toy_tasks
from lightning_layerscope.training import small_llama, train_tokenizer


class LanguageModel(pl.LightningModule):
    """Any LightningModule with a model inside will do: the layers are found in it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def training_step(self, batch, batch_idx):
        """The usual loss: nothing here knows of the monitor."""
        loss = self.model(**batch).loss
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self):
        """The usual optimiser."""
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


def main(out: Path, steps: int) -> LayerProfile:
    tasks = toy_tasks(train=32, test=16)
    tokenizer = train_tokenizer(tasks.texts("train"), vocab_size=800)
    module = LanguageModel(small_llama(tokenizer, width=32, layers=6))

    def collate(texts):
        batch = tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
        padding = batch["attention_mask"] == 0
        return {**batch, "labels": batch["input_ids"].masked_fill(padding, -100)}

    loader = DataLoader(tasks.texts("train"), batch_size=16, shuffle=True, collate_fn=collate)

    # These two lines are all that the monitor needs: fixed prompts of every task, and the callback.
    probes = ProbeSet.from_tasks(tasks, tokenizer, examples_per_task=16)
    monitor = LayerSimilarityMonitor(probes, at_steps=[steps // 4, steps // 2], max_overhead=None)

    trainer = pl.Trainer(
        max_steps=steps,
        logger=CSVLogger(out, name="run"),
        callbacks=[monitor],
        accelerator="cpu",
        log_every_n_steps=5,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader)

    # Everything that was measured lies beside the logger's files, and can be read back.
    results = Path(trainer.logger.log_dir) / "layerscope"
    profile = LayerProfile.from_parquet(results / "profile.parquet")
    print(profile.mean_curve().round(3).to_string(index=False))
    print(f"report: {results / 'report.html'}")
    return profile


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("example-lightning"))
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    main(options.out, options.steps)
