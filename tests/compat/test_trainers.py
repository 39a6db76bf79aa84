"""Canaries: where one of these fails, a trainer has changed under what ``compat`` knows of it."""

import logging
from pathlib import Path
from typing import Any

import lightning.pytorch
import pytest
import pytorch_lightning
import torch
from torch.utils.data import DataLoader

from lightning_layerscope.compat.lightning_trainer import (
    flattened_loaders,
    is_fitting,
    is_whole_sanity_check,
    keeps_its_folder,
    logger_folder,
    planned_steps,
)
from lightning_layerscope.compat.transformers_trainer import EvaluationSteps, calling_trainer, tensorboard_writer

transformers = pytest.importorskip("transformers")

ROWS = torch.ones(4, 2)


@pytest.mark.parametrize("pl", [lightning.pytorch, pytorch_lightning], ids=["lightning", "pytorch_lightning"])
def test_what_lightning_is_asked(pl: Any, tmp_path: Path) -> None:
    logging.getLogger(pl.__name__).setLevel(logging.ERROR)
    loaders = {"a": [DataLoader(ROWS), DataLoader(ROWS)], "b": DataLoader(ROWS)}
    seen: list[Any] = []

    class Look(pl.Callback):  # type: ignore[misc, name-defined]
        def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
            order = [loaders["a"][0], loaders["a"][1], loaders["b"]]
            same = [one is other for one, other in zip(flattened_loaders(trainer), order, strict=True)]
            seen.append((is_fitting(trainer), is_whole_sanity_check(trainer), same, planned_steps(trainer)))

    class Module(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
            return self.layer(batch).sum()

        def validation_step(self, batch: torch.Tensor, index: int, dataloader_idx: int = 0) -> None:
            pass

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    logger = pl.loggers.CSVLogger(tmp_path, name="run", version=3)
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        callbacks=[Look()],
        logger=logger,
        num_sanity_val_steps=-1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Module(), DataLoader(ROWS, batch_size=2), loaders)
    assert [found[:3] for found in seen] == [(False, True, [True] * 3), *[(True, False, [True] * 3)] * 2]
    assert seen[-1][3] == 4
    assert logger_folder(logger) == tmp_path / "run" / "version_3"
    assert keeps_its_folder(logger)


def test_what_transformers_is_asked(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    seen: dict[str, Any] = {}

    class Look(transformers.TrainerCallback):  # type: ignore[misc, name-defined]
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            seen["trainer"] = trainer = calling_trainer(self)
            seen["writer"] = tensorboard_writer(trainer)
            self.steps = EvaluationSteps(trainer, lambda batch: seen.setdefault("batch", dict(batch)), seen.clear)

        def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            seen["steps"] = seen.get("steps", 0) + 1

    config = transformers.LlamaConfig(
        hidden_size=8, intermediate_size=8, num_attention_heads=1, num_hidden_layers=1, vocab_size=16
    )
    rows = [{"input_ids": torch.ones(3, dtype=torch.long), "labels": torch.ones(3, dtype=torch.long)}] * 4
    trainer = transformers.Trainer(
        transformers.LlamaForCausalLM(config),
        transformers.TrainingArguments(
            str(tmp_path), max_steps=1, report_to=["tensorboard"], use_cpu=True, disable_tqdm=True, save_strategy="no"
        ),
        train_dataset=rows,
        eval_dataset=rows,
        callbacks=[look := Look()],
    )
    trainer.train()
    assert seen["trainer"] is trainer
    assert hasattr(seen["writer"], "add_scalar")
    trainer.evaluate()
    assert seen == {"steps": 1}  # the batch was seen before the step, and the end of it before the hook
    look.steps.detach()
    with pytest.raises(LookupError, match="not found among its callers"):
        calling_trainer(look)
