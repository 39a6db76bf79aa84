"""What the stages of a trial share: the model, the tasks, the recipe."""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from lightning_layerscope.advice.evidence import Evidence
from lightning_layerscope.advice.targets import Targets, find_targets
from lightning_layerscope.advice.trial_recipe import TrialRecipe
from lightning_layerscope.advice.trial_run import TrialSetting, held_out_rows
from lightning_layerscope.study.engine.stage import Stage
from lightning_layerscope.study.engine.store import Store
from lightning_layerscope.tasks import TaskCollection
from lightning_layerscope.training import load_model


@dataclass(frozen=True)
class MakeTrialContext:
    """Makes the context in a worker process.

    Attributes:
        root: Folder of the trial's results.
        model: Folder or hub name of the base model.
        tasks: Trained and scored.
        retention: What must not be lost.
        recipe: How to train.
        device: Where the model goes.
    """

    root: str
    model: str
    tasks: TaskCollection
    retention: TaskCollection
    recipe: TrialRecipe
    device: str

    def __call__(self) -> TrialContext:
        """The context, whose model is loaded when the first stage needs it."""
        return TrialContext(self)


class TrialContext:
    """The model and its tasks, loaded once per process.

    Args:
        options: Where everything is.
        loaded: Model and tokenizer, where they are in memory already.
    """

    def __init__(self, options: MakeTrialContext, loaded: tuple[Any, Any] | None = None) -> None:
        self.options = options
        self.store = Store(options.root)
        self._loaded = loaded

    def at_work(self, stage: Stage[Any, Any]) -> AbstractContextManager[None]:
        """Nothing is needed around a stage."""
        return nullcontext()

    @cached_property
    def loaded(self) -> tuple[Any, Any]:
        """Model and tokenizer; the model's parameters are frozen."""
        model, tokenizer = self._loaded or load_model(self.options.model, device=self.options.device)
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        return model, tokenizer

    @cached_property
    def targets(self) -> Targets:
        """The matrices that may get adapters."""
        return find_targets(self.loaded[0], self.options.recipe.kinds)

    def setting(self, evidence: Evidence) -> TrialSetting:
        """What all trainings share."""
        options, (model, tokenizer) = self.options, self.loaded
        recipe = options.recipe
        rows = held_out_rows(options.tasks, tokenizer, recipe.test_rows, recipe.max_length)
        kept = held_out_rows(options.retention, tokenizer, recipe.retention_rows, recipe.max_length)
        return TrialSetting(model, tokenizer, options.tasks, self.targets, recipe, evidence, rows, kept)


def tasks_digest(tasks: TaskCollection) -> str:
    """Digest of all rows of the tasks."""
    digest = hashlib.sha256()
    for name, task in tasks.items():
        for split, examples in task.splits.items():
            rows = [(example.id, example.instruction, example.input, example.output) for example in examples]
            digest.update(json.dumps([name, split, rows]).encode())
    return digest.hexdigest()


def weights_digest(model: Any) -> str:
    """Digest of a model in memory: names and numbers of all weights."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def model_folder(model: Any) -> str | None:
    """The folder or name of a model that is not in memory."""
    return str(model) if isinstance(model, str | Path) else None
