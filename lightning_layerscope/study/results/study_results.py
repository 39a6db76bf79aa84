"""All tasks' comparisons, put together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_layerscope.profiles import LayerProfile
from lightning_layerscope.study.engine.store import Store
from lightning_layerscope.study.stages.compare import CompareStage, ComparisonFacts
from lightning_layerscope.study.stages.data import TRAIN, DataStage
from lightning_layerscope.study.stages.imported import ImportedStage
from lightning_layerscope.study.stages.measured import MeasuredFacts
from lightning_layerscope.study.stages.probes import ProbeFacts
from lightning_layerscope.study.stages.roles import Multitask, Role
from lightning_layerscope.study.stages.train import ControlTraining, TrainStage

Array = np.ndarray[Any, np.dtype[np.float64]]
DRIFT = "drift"


@dataclass(frozen=True)
class StudyResults:
    """What a study measured.

    Attributes:
        tuned: Role of the tuned model.
        trained: Tasks that the multi-task model was trained on.
        profiles: ``"base"`` and the tuned role against the controls (where there are any), and ``"drift"``, the tuned
            model against the base model; each over all tasks.
        comparisons: Task to what its comparison found.
        probes: Task to its counts and covariates.
        train_rows: Task to the number of its rows that models of this study were trained on.
        trainings: Task to how its controls were trained, those beside the others left out.
        measured: Role to task to numbers of its states.
        samples: Role to task to states of a few prompts, (layers, prompts, width).
    """

    tuned: Role
    trained: tuple[str, ...]
    profiles: dict[str, LayerProfile]
    comparisons: dict[str, ComparisonFacts]
    probes: dict[str, ProbeFacts]
    train_rows: dict[str, int]
    trainings: dict[str, list[ControlTraining]]
    measured: dict[str, dict[str, MeasuredFacts]]
    samples: dict[str, dict[str, Array]]

    @property
    def names(self) -> list[str]:
        """All tasks."""
        return list(self.comparisons)

    @property
    def clusters(self) -> list[str]:
        """The cluster of each task."""
        return [self.probes[name].cluster for name in self.names]

    @property
    def layers(self) -> list[int]:
        """Layer numbers."""
        return self.profiles[DRIFT].layers

    @property
    def confidence(self) -> float:
        """Of all intervals."""
        return next(iter(self.comparisons.values())).confidence

    @property
    def has_controls(self) -> bool:
        """Whether there are controls to compare with."""
        return "base" in self.profiles

    @property
    def trained_here(self) -> bool:
        """Whether the tuned model is the study's own, so that some tasks are known to be seen and others not."""
        return isinstance(self.tuned, Multitask)

    @property
    def seen(self) -> list[str]:
        """Tasks that the multi-task model was trained on; all where that is not known of any."""
        return [name for name in self.names if name in self.trained] or self.names

    @property
    def unseen(self) -> list[str]:
        """The others."""
        return [name for name in self.names if name not in self.seen]

    def values(self, tasks: Iterable[str] | None = None) -> dict[str, Array]:
        """Role to values of shape (tasks, layers).

        The roles are those that figures show: both models against the control, or the tuned one against the base model.
        """
        wanted = self.names if tasks is None else list(tasks)
        rows = [self.names.index(name) for name in wanted]
        # Without controls the one curve is the tuned model's, and is drawn as such.
        shown = {"base": "base", self.tuned.key: self.tuned.key} if self.has_controls else {self.tuned.key: DRIFT}
        return {role: self.profiles[profile].matrix()[rows] for role, profile in shown.items()}

    def components(self) -> dict[str, Array]:
        """Role to components for 99 % of the variance, (tasks, layers)."""
        return {
            role: np.asarray([by_task[name].components for name in self.names], dtype=float)
            for role, by_task in self.measured.items()
            if all(by_task[name].components is not None for name in self.names)
        }

    def neighbours(self) -> Array | None:
        """Similarity of the tuned model's layers with the one before, (tasks, layers); None where it is not known."""
        held = [self.measured[self.tuned.key][name].neighbours for name in self.names]
        return None if any(each is None for each in held) else np.asarray(held, dtype=float)

    def covariates(self) -> Mapping[str, list[float]]:
        """What the similarity may go with, by the name that the figure shows; one number per task."""
        facts = [self.probes[name] for name in self.names]
        sizes = [
            self.train_rows[name] if self.trained_here else self.probes[name].test_available for name in self.names
        ]
        return {
            "prompt length (tokens)": [each.prompt_tokens for each in facts],
            "data size (log rows)": np.log(np.maximum(np.asarray(sizes, dtype=float), 1)).tolist(),
            "readability (Flesch)": [float("nan") if each.readability is None else each.readability for each in facts],
        }


def gather(
    comparisons: Sequence[CompareStage], data: Sequence[DataStage], trained: Sequence[str], store: Store
) -> StudyResults:
    """Read the results of all comparisons and of what they rest on.

    Args:
        comparisons: One per task.
        data: The training rows of the tasks that have any.
        trained: Tasks that the multi-task model was trained on.
        store: The store of the study.
    """
    compared = {stage.task: stage.load(store) for stage in comparisons}
    measured, samples = dict[str, dict[str, MeasuredFacts]](), dict[str, dict[str, Array]]()
    for comparison in comparisons:
        for stage in (comparison.base, comparison.tuned):
            model = stage.load(store)
            measured.setdefault(stage.role.key, {})[stage.task] = model.facts
            if (sample := model.sample()) is not None:
                samples.setdefault(stage.role.key, {})[stage.task] = sample
    rows = {stage.task: len(stage.load(store).split(TRAIN)) for stage in data}
    profiles = {
        role: LayerProfile.concat(each.against_controls[role] for each in compared.values())
        for role in next(iter(compared.values())).against_controls
    }
    return StudyResults(
        tuned=comparisons[0].tuned.role,
        trained=tuple(trained),
        profiles=profiles | {DRIFT: LayerProfile.concat(each.drift for each in compared.values())},
        comparisons={task: each.facts for task, each in compared.items()},
        probes={stage.task: stage.base.probes.load(store).facts for stage in comparisons},
        train_rows={task: rows.get(task, 0) for task in compared},
        trainings={stage.task: _trainings(stage, store) for stage in comparisons},
        measured=measured,
        samples=samples,
    )


def _trainings(comparison: CompareStage, store: Store) -> list[ControlTraining]:
    trainings = []
    for stage in comparison.controls:
        if isinstance(stage, ImportedStage):
            trainings.append(stage.control.training)
        elif isinstance(stage.model, TrainStage):
            trainings.append(ControlTraining.of(stage.model.load(store).record, stage.task))
    return trainings
