"""Stages ``data:<task>`` and ``validation:<task>``: rows to train on, and rows to tell by when a control converged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lightning_layerscope.study.engine.stage import Stage
from lightning_layerscope.study.engine.store import Store
from lightning_layerscope.study.stages.context import StudyContext
from lightning_layerscope.study.stages.row_files import digest_rows, load_rows, save_rows
from lightning_layerscope.tasks import Example, Task
from lightning_layerscope.tasks.sampling import sampling_key

_ROWS = "rows.json"
TRAIN = "train"
"""The split of the stored rows, whatever they are for."""


@dataclass(frozen=True, eq=False)
class DataStage(Stage[StudyContext, Task]):
    """A task's training rows. Its fingerprint is that of the rows: whatever leaves these alone makes nothing new.

    Attributes:
        task: Name of the task.
        digest: Digest of the chosen rows.
        split: Where they are chosen from.
        seed: Seed of the choice.
        count: At most so many.
        start: So many of the chosen order are left to others.
        purpose: ``"data"``, or ``"validation"`` for rows that no model is trained on.
    """

    task: str
    digest: str
    split: str
    seed: int
    count: int
    start: int = 0
    purpose: Literal["data", "validation"] = "data"

    @classmethod
    def of(cls, task: Task, *, split: str, seed: int, count: int) -> DataStage:
        """The stage of a task's training rows as they are now."""
        return cls(task.name, digest_rows(choose_rows(task, split, seed, 0, count)), split, seed, count)

    @classmethod
    def to_validate(cls, task: Task, *, split: str, seed: int, start: int, count: int) -> DataStage:
        """The stage of the rows that follow the training rows."""
        digest = digest_rows(choose_rows(task, split, seed, start, count))
        return cls(task.name, digest, split, seed, count, start, "validation")

    @property
    def kind(self) -> str:
        """``"data"`` or ``"validation"``."""
        return self.purpose

    @property
    def name(self) -> str:
        """``data:<task>`` or ``validation:<task>``."""
        return f"{self.purpose}:{self.task}"

    def settings(self) -> Mapping[str, Any]:
        """The rows themselves."""
        return {"rows": self.digest}

    def run(self, context: StudyContext, folder: Path) -> None:
        """Write the rows.

        Raises:
            ValueError: If the task's rows changed since the study was opened.
        """
        task = context.tasks[self.task]
        rows = choose_rows(task, self.split, self.seed, self.start, self.count)
        if digest_rows(rows) != self.digest:
            raise ValueError(f"the rows of task {self.task!r} changed since the study was opened; start it again")
        save_rows(Task(task.name, task.cluster, {TRAIN: rows}), folder / _ROWS)

    def load(self, store: Store) -> Task:
        """The task with its training rows."""
        return load_rows(store.verified(self) / _ROWS)


def choose_rows(task: Task, split: str, seed: int, start: int, count: int) -> tuple[Example, ...]:
    """A seeded choice of a task's rows: n + 1 of them are the n ones and one more."""
    known = task.splits.get(split, ())
    return tuple(sorted(known, key=lambda example: sampling_key(seed, task.name, example.id))[start : start + count])
