"""What the stages of one study share while they run: plan, tasks, tokenizer, and the model in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lightning_layerscope.compat.known_warnings import without_training_notes
from lightning_layerscope.study.engine.stage import Stage
from lightning_layerscope.study.engine.store import Store
from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.stages.model_cache import ModelCache, device_for
from lightning_layerscope.tasks import TaskCollection, load_tasks
from lightning_layerscope.training.loading import load_tokenizer


class StudyContext:
    """Keeps tasks, tokenizer and base model from one stage to the next.

    Args:
        plan: The plan of the study; nothing else is needed, so that another process or machine can make its own.
        tasks: The plan's tasks where they are loaded already.
        shown: Print how far long stages have come, and nothing else; for processes whose output another one shows.

    Attributes:
        plan: The plan.
        store: The folder with the stages' results.
    """

    def __init__(self, plan: StudyPlan, tasks: TaskCollection | None = None, *, shown: bool = False) -> None:
        self.plan = plan
        self._shown = shown
        self.store = Store(plan.output_dir or plan.name)
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
    def models(self) -> ModelCache:
        """Where the model is."""
        device = device_for(self.plan.training.accelerator)
        return ModelCache(self.plan.model, dtype=self.plan.dtype, device=device)

    @contextmanager
    def at_work(self, stage: Stage[Any, Any]) -> Iterator[None]:
        """Around the work of one stage: the plan's threads, and no warnings that are known to mean nothing here."""
        from lightning_layerscope.training.progress import showing
        from lightning_layerscope.training.quiet import quiet

        with ExitStack() as around:
            if self._shown:
                around.enter_context(quiet())
                around.enter_context(showing())
            around.enter_context(self.threads())
            around.enter_context(without_training_notes())
            yield

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


@dataclass(frozen=True)
class MakeStudyContext:
    """Makes a plan's context in another process."""

    plan: StudyPlan
    shown: bool = False

    def __call__(self) -> StudyContext:
        """A new context; its tasks and models are loaded when they are first asked for."""
        return StudyContext(self.plan, shown=self.shown)


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
