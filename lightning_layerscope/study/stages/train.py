"""Stages ``multitask`` and ``control:<task>@<seed>``: one Lightning run each, with the monitor attached."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch

from lightning_layerscope.compat.peft import forget_adapters
from lightning_layerscope.study.engine.stage import NOT_IN_FINGERPRINT, Stage
from lightning_layerscope.study.engine.store import Store
from lightning_layerscope.study.plan import Template, Training
from lightning_layerscope.study.stages.context import StudyContext
from lightning_layerscope.study.stages.convergence import CONVERGENCE, Convergence
from lightning_layerscope.study.stages.data import TRAIN, DataStage
from lightning_layerscope.study.stages.lightning_run import fit
from lightning_layerscope.study.stages.model_cache import ModelCache
from lightning_layerscope.study.stages.probes import ProbesStage, prompt_template
from lightning_layerscope.study.stages.records import read_record, write_record
from lightning_layerscope.study.stages.roles import Role
from lightning_layerscope.tasks import TaskCollection

_MODEL, _RECORD = "model", "training.json"


@dataclass(frozen=True)
class TrainingRecord:
    """What a training was.

    Attributes:
        steps: Optimiser steps taken.
        rows: Task to the number of rows trained on.
        cut: Task to the number of rows that were cut to the token budget; tasks without any are left out.
        seed: Seed of the order and of the adapter's first values.
        seconds: How long it took.
        trainable: How many parameters were trained.
        convergence: How it ended, where it was trained until it converged; ``steps`` count to the end, not to the best.
    """

    steps: int
    rows: dict[str, int]
    cut: dict[str, int]
    seed: int
    seconds: float
    trainable: int
    convergence: Convergence | None = None


@dataclass(frozen=True)
class ControlTraining:
    """What a reader should know of a control's training.

    Attributes:
        rows: Rows of its task that it was trained on.
        steps: Optimiser steps taken.
        at_bound: Whether its bound ended it while it was still improving; None where it was not trained to converge.
    """

    rows: int
    steps: int
    at_bound: bool | None

    @classmethod
    def of(cls, record: TrainingRecord, task: str) -> ControlTraining:
        """The same from a training's record."""
        ending = record.convergence
        return cls(record.rows[task], record.steps, None if ending is None else ending.at_bound)


@dataclass(frozen=True)
class TrainedModel:
    """A model that a study trained.

    Attributes:
        folder: Holds the adapter, or the whole model with its tokenizer.
        record: How it was trained.
    """

    folder: Path
    record: TrainingRecord


@dataclass(frozen=True)
class Recipe:
    """What all trainings of a study have in common.

    Attributes:
        training: The plan's recipe.
        template: How a row becomes a prompt.
        base: Digest of the base model.
        dtype: Data type of its weights in memory.
        threads: Torch's.
    """

    training: Training
    template: Template
    base: str
    dtype: str
    threads: int | None

    def settings(self) -> dict[str, Any]:
        """Plain values; which controls there are and which rows they see stand elsewhere."""
        elsewhere = {"control_seeds", "control_budget", "control_max_epochs"}
        elsewhere |= {"max_examples_per_cluster", "max_examples_per_task"}
        return {
            **self.training.model_dump(mode="json", exclude=elsewhere),
            "template": self.template.model_dump(),
            "base": self.base,
            "dtype": self.dtype,
            "threads": self.threads,
        }


@dataclass(frozen=True, eq=False)
class TrainStage(Stage[StudyContext, TrainedModel]):
    """Trains one model.

    Attributes:
        role: Which one.
        task: The one task of a control; None where it is trained on several.
        recipe: How.
        data: The tasks it is trained on.
        probes: The monitor measures on some of their prompts; this touches no bit of the model.
        paced_by: As many optimiser steps are taken as this one took; by default the recipe's epochs.
        judged_by: Rows that are not trained on; it ends when the loss on these stops improving.
    """

    role: Role
    task: str | None
    recipe: Recipe
    data: tuple[DataStage, ...]
    probes: tuple[ProbesStage, ...] = field(metadata=NOT_IN_FINGERPRINT)
    paced_by: TrainStage | None = None
    judged_by: DataStage | None = None
    trains: ClassVar[bool] = True

    @property
    def kind(self) -> str:
        """``"multitask"`` or ``"control"``."""
        return self.role.kind

    @property
    def name(self) -> str:
        """``multitask`` or ``control:<task>@<seed>``."""
        return self.role.training_name(self.task)

    @property
    def aliases(self) -> tuple[str, ...]:
        """``control:<task>`` stands for those of every seed."""
        return () if self.task is None else (f"{self.kind}:{self.task}",)

    @property
    def seed(self) -> int:
        """Of the order and of the adapter's first values."""
        return int(self.role.settings().get("seed", self.recipe.training.seed))

    def settings(self) -> Mapping[str, Any]:
        """The recipe, and what the role adds to it."""
        bound = {} if self.judged_by is None else {"max_epochs": self.recipe.training.control_max_epochs}
        return {**self.recipe.settings(), **self.role.settings(), **bound}

    def run(self, context: StudyContext, folder: Path) -> None:
        """Train; write ``model/``, ``training.json``, ``log/`` and ``monitor/``."""
        from lightning_layerscope.training import InstructionDataModule, InstructionModule

        recipe = self.recipe.training
        data = InstructionDataModule(
            TaskCollection([stage.load(context.store) for stage in self.data], source="study"),
            context.tokenizer,
            template=prompt_template(self.recipe.template),
            batch_size=recipe.batch_size,
            max_length=recipe.max_length,
            seed=self.seed,
        )
        adapted = None
        try:
            with torch.random.fork_rng():
                torch.manual_seed(self.seed)
                model = adapted = self._adapt(context.models.base())
                module = InstructionModule(
                    model,
                    context.tokenizer,
                    learning_rate=recipe.learning_rate,
                    warmup=recipe.warmup,
                    weight_decay=recipe.weight_decay,
                )
                begun = time.monotonic()
                taken = fit(self, module, data, context, folder)
                seconds = time.monotonic() - begun
            model.save_pretrained(str(folder / _MODEL))
            if recipe.method == "full":
                context.tokenizer.save_pretrained(str(folder / _MODEL))
        finally:
            # An adapter or a full training has changed what lies in the cache.
            _restore(context.models, adapted)
        record = TrainingRecord(
            steps=taken,
            rows={task.name: len(task.split(TRAIN)) for task in data.tasks.values()},
            cut=data.cut(),
            seed=self.seed,
            seconds=seconds,
            trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
            convergence=None if self.judged_by is None else read_record(Convergence, folder / CONVERGENCE),
        )
        write_record(record, folder / _RECORD)

    def load(self, store: Store) -> TrainedModel:
        """Where the model is, and how it was trained."""
        folder = store.verified(self)
        return TrainedModel(folder / _MODEL, read_record(TrainingRecord, folder / _RECORD))

    def _adapt(self, base: Any) -> Any:
        from lightning_layerscope.training import add_lora

        recipe = self.recipe.training
        if recipe.method == "full":
            return base
        return add_lora(
            base,
            target_modules=recipe.target_modules,
            rank=recipe.rank,
            alpha=recipe.alpha,
            dropout=recipe.dropout,
            seed=self.seed,
        )


def _restore(models: ModelCache, adapted: Any) -> None:
    if adapted is None or not hasattr(adapted, "unload"):
        models.drop()
        return
    bare = adapted.unload()
    forget_adapters(bare)
    bare.eval()
