"""One short training of a trial: an adapter on a base model for the length of a block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from lightning_layerscope._extras import require
from lightning_layerscope.advice.exports import lora_config
from lightning_layerscope.advice.targets import Targets
from lightning_layerscope.advice.trial_recipe import TrialRecipe
from lightning_layerscope.compat.peft import forget_adapters
from lightning_layerscope.tasks import TaskCollection


@contextlib.contextmanager
def trained_adapter(
    model: Any,
    tokenizer: Any,
    tasks: TaskCollection,
    targets: Targets,
    ranks: Mapping[str, int],
    recipe: TrialRecipe,
    seed: int,
) -> Iterator[Any]:
    """Train one adapter on all tasks and lend the adapted model; the base model is as before afterwards, in eval mode.

    Adapters, rows and order follow from the seed; the global generators are left alone.

    Args:
        model: The base model, without adapters, where it is to be trained (CPU or card).
        tokenizer: The tokenizer of the model.
        tasks: With a split ``"train"``.
        targets: The matrices that may get adapters.
        ranks: The ranks of those that do.
        recipe: How to train.
        seed: Seed of everything random.
    """
    from pytorch_lightning import Trainer

    from lightning_layerscope.training import InstructionDataModule, InstructionModule

    peft = require("peft", "peft")
    device = next(model.parameters()).device
    data = InstructionDataModule(
        tasks,
        tokenizer,
        batch_size=recipe.batch_size,
        max_length=recipe.max_length,
        max_examples_per_task=recipe.train_rows,
        seed=seed,
    )
    frozen = [parameter.requires_grad for parameter in model.parameters()]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = lora_config(targets, ranks, scaling=recipe.scaling, task_type="CAUSAL_LM")
        adapted = peft.get_peft_model(model, config)
        try:
            trainer = Trainer(
                accelerator="cpu" if device.type == "cpu" else "gpu",
                devices=1,
                max_epochs=recipe.epochs,
                limit_val_batches=0,
                num_sanity_val_steps=0,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            trainer.fit(InstructionModule(adapted, tokenizer, learning_rate=recipe.learning_rate), datamodule=data)
            # Lightning moves the model back to the CPU when it is done.
            yield adapted.to(device).eval()
        finally:
            bare = adapted.unload()
            forget_adapters(bare)
            for parameter, wanted in zip(bare.parameters(), frozen, strict=True):
                parameter.requires_grad_(wanted)
            bare.to(device).eval()
