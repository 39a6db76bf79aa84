"""Does the work of every kind of stage."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning_layerscope.study.models import ModelRoom, device_for, load_tokenizer
from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.store import Stage, Store
from lightning_layerscope.tasks import TaskCollection, load_tasks

_KNOWN = (
    ".*does not have many workers.*",  # tokenised rows need none
    ".*smaller than the logging interval.*",  # a control may take fewer steps than that
    ".*`is_gradient_checkpointing` is deprecated.*",  # peft with transformers 5
    ".*treespec.*is deprecated.*",  # Lightning with torch 2.13
    ".*GPU available but not used.*",
)


class StudyRunner:
    """Runs stages of one plan; keeps tasks, tokenizer and base model from one stage to the next.

    Args:
        plan: Of the study; nothing else is needed, so that another process or machine can make its own.
        tasks: The plan's tasks where they are loaded already.
    """

    def __init__(self, plan: StudyPlan, tasks: TaskCollection | None = None) -> None:
        self.plan = plan
        self._tasks = tasks

    @property
    def tasks(self) -> TaskCollection:
        """The plan's tasks."""
        if self._tasks is None:
            self._tasks = load_plan_tasks(self.plan)
        return self._tasks

    @cached_property
    def tokenizer(self) -> Any:
        """Of the base model."""
        return load_tokenizer(self.plan.model)

    @cached_property
    def room(self) -> ModelRoom:
        """Where the model is."""
        device = device_for(self.plan.training.accelerator)
        return ModelRoom(self.plan.model, dtype=self.plan.dtype, device=device)

    def __call__(self, stage: Stage, store: Store, folder: Path) -> None:
        """Write the stage's result into `folder`."""
        with self.threads(), known_warnings():
            self._run(stage, store, folder)

    @contextmanager
    def threads(self) -> Iterator[None]:
        """Torch's threads as the plan has them."""
        import torch

        before = torch.get_num_threads()
        if self.plan.threads is not None:
            torch.set_num_threads(self.plan.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def _run(self, stage: Stage, store: Store, folder: Path) -> None:
        if stage.kind == "data":
            from lightning_layerscope.study.stage_data import prepare_data

            task = self.tasks[stage.name.partition(":")[2]]
            count = int(stage.settings["train_examples"])
            prepare_data(folder, task, self.plan, self.tokenizer, train_examples=count)
        elif stage.kind in ("multitask", "control"):
            from lightning_layerscope.study.stage_train import train_model

            train_model(stage, store, folder, self.plan, self.room, self.tokenizer)
        elif stage.kind == "states":
            from lightning_layerscope.study.stage_states import measure_states

            measure_states(stage, store, folder, self.plan, self.room, self.tokenizer)
        elif stage.kind == "import":
            from lightning_layerscope.study.controls import take_over

            take_over(stage, store, folder, self.plan, self.tokenizer)
        elif stage.kind == "compare":
            from lightning_layerscope.study.stage_compare import compare_task

            compare_task(stage, store, folder)
        elif stage.kind == "results":
            from lightning_layerscope.study.stage_results import write_results

            write_results(stage, store, folder, self.plan)
        else:
            raise ValueError(f"no stage of the kind {stage.kind!r}")


@contextmanager
def known_warnings() -> Iterator[None]:
    """Leave out what other libraries say about their own insides, or about choices that are deliberate here."""
    with warnings.catch_warnings():
        for message in _KNOWN:
            warnings.filterwarnings("ignore", message=message)
        yield


def load_plan_tasks(plan: StudyPlan) -> TaskCollection:
    """The tasks that a plan names."""
    source = plan.tasks
    tasks = load_tasks(
        source.source,
        columns=source.columns or None,
        clusters=source.clusters or None,
        splits=list(dict.fromkeys((source.train_split, source.test_split))),
    )
    return tasks.select(source.select) if source.select else tasks
