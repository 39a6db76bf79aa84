"""The stages of a study and what each depends on."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.store import Stage
from lightning_layerscope.tasks import Task, TaskCollection

if TYPE_CHECKING:
    from lightning_layerscope.study.controls import Controls

ANALYSIS_REVISION = 1
"""Counts up when the meaning of a stage's result changes, so that old results are not taken for new ones."""


@dataclass(frozen=True)
class StudyGraph:
    """All stages, in an order in which they can run.

    Attributes:
        stages: Name to stage.
        trained: Tasks that the multi-task model is trained on.
        held_out: Tasks that it is not trained on.
    """

    stages: Mapping[str, Stage]
    trained: tuple[str, ...]
    held_out: tuple[str, ...]

    def resolve(self, names: Sequence[str]) -> list[str]:
        """Stage names from what a person types: a stage, a kind (``control``), or a control of every seed.

        Raises:
            ValueError: If there is no such stage; the message shows the kinds there are.
        """
        found: dict[str, None] = {}
        for name in names:
            matches = [
                known
                for known, stage in self.stages.items()
                if name in (known, stage.kind) or (stage.kind == "control" and name == known.rpartition("@")[0])
            ]
            if not matches:
                near = difflib.get_close_matches(name, self.stages, n=1)
                kinds = sorted({stage.kind for stage in self.stages.values()})
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(
                    f"no stage {name!r} in this study{hint} Stages are named <kind> or <kind>:<task>, with the kinds "
                    f"{', '.join(kinds)}"
                )
            found.update(dict.fromkeys(matches))
        return list(found)

    def upstream(self, names: Sequence[str]) -> list[Stage]:
        """The named stages (see :meth:`resolve`) and all they need, in running order."""
        wanted: set[str] = set()
        pending = [self.stages[name] for name in self.resolve(names)]
        while pending:
            stage = pending.pop()
            if stage.name not in wanted:
                wanted.add(stage.name)
                pending.extend(stage.needs)
        return [stage for name, stage in self.stages.items() if name in wanted]


def control_name(task: str, seed: int) -> str:
    """Name of the training of one control."""
    return f"control:{task}@{seed}"


def measures_control(stage: Stage) -> bool:
    """Whether the stage measures a control that this study trained."""
    return stage.name.startswith("states:control@")


def build_graph(
    plan: StudyPlan, tasks: TaskCollection, models: Mapping[str, str], controls: Controls | None = None
) -> StudyGraph:
    """Lay out the stages of a plan.

    Args:
        plan: The plan.
        tasks: Its tasks.
        models: Digest of each model that exists already (``"base"``, and ``"tuned"`` where the plan names one).
        controls: Those that the plan takes over from another study.

    Returns:
        The graph. Per-task stages depend on their task alone, so that a task more or less re-runs no other.

    Raises:
        ValueError: If a held-out cluster does not exist, nothing would be left to train on, or the controls are of
            other tasks or another base model.
    """
    clusters = set(tasks.clusters.values())
    unknown = sorted(set(plan.held_out) - clusters)
    if unknown:
        raise ValueError(f"held_out names clusters that are not there: {unknown}; the clusters are {sorted(clusters)}")
    held_out = tuple(name for name in tasks if tasks[name].cluster in plan.held_out)
    trained = tuple(name for name in tasks if name not in held_out)
    if not trained:
        raise ValueError("held_out names every cluster: nothing is left to train the multi-task model on")
    if controls is not None:
        controls.check_covers(tasks, models["base"])
    builder = _Builder(plan, tasks, models, trained, controls)
    builder.build()
    return StudyGraph(builder.stages, trained, held_out)


class _Builder:
    def __init__(
        self,
        plan: StudyPlan,
        tasks: TaskCollection,
        models: Mapping[str, str],
        trained: tuple[str, ...],
        controls: Controls | None,
    ) -> None:
        self.plan, self.tasks, self.models, self.trained, self.controls = plan, tasks, models, trained, controls
        self.stages: dict[str, Stage] = {}

    def build(self) -> None:
        plan = self.plan
        data = {name: self._add(f"data:{name}", self._data_settings(name)) for name in self.tasks}
        recipe = plan.training.model_dump(
            mode="json", exclude={"control_seeds", "control_budget", "max_examples_per_cluster"}
        ) | {
            "base": self.models["base"],
            "dtype": plan.dtype,
            "estimator": plan.estimator,
            "threads": plan.threads,
        }
        tuned_role, tuned_needs = "tuned", tuple[Stage, ...]()
        if plan.trains:
            self._add("multitask", recipe, tuple(data[name] for name in self.trained), trains=True)
            tuned_role, tuned_needs = "multitask", (self.stages["multitask"],)
        analysis = {
            "estimator": plan.estimator,
            "measures": list(plan.measures),
            "confidence": plan.confidence,
            "revision": ANALYSIS_REVISION,
        }
        comparisons = []
        for name in self.tasks:
            inputs = [
                self._states("base", name, (data[name],)),
                self._states(tuned_role, name, (data[name], *tuned_needs)),
            ]
            if self.controls is not None:
                inputs += [
                    self._add(
                        f"import:control@{seed}:{name}",
                        {"bank": by_task[name].digest, "max_length": plan.training.max_length},
                        (data[name],),
                    )
                    for seed, by_task in self.controls.by_seed.items()
                ]
            elif plan.trains:
                for seed in plan.training.control_seeds:
                    control = self._control(name, seed, recipe, data[name])
                    inputs.append(self._states(f"control@{seed}", name, (data[name], control)))
            comparisons.append(self._add(f"compare:{name}", analysis, tuple(inputs)))
        settings = {
            "map_layers": plan.map_layers,
            "trained": list(self.trained),
            "clusters": self.tasks.clusters,
            "confidence": plan.confidence,
            "revision": ANALYSIS_REVISION,
        }
        self._add("results", settings, tuple(comparisons))

    def _add(
        self, name: str, settings: Mapping[str, Any], needs: tuple[Stage, ...] = (), *, trains: bool = False
    ) -> Stage:
        stage = Stage(name, settings, needs, trains)
        self.stages[name] = stage
        return stage

    def _control(self, task: str, seed: int, recipe: Mapping[str, Any], data: Stage) -> Stage:
        settings = {**recipe, "seed": seed, "budget": self.plan.training.control_budget}
        needs: tuple[Stage, ...] = (data,)
        if self.plan.training.control_budget == "equal_steps":
            needs = (data, self.stages["multitask"])
        return self._add(control_name(task, seed), settings, needs, trains=True)

    def _states(self, role: str, task: str, needs: tuple[Stage, ...]) -> Stage:
        settings = {
            "model": self.models["base"],
            "tokens": self.plan.max_tokens_per_batch,
            "revision": ANALYSIS_REVISION,
            "threads": self.plan.threads,
        }
        if role == "tuned":
            settings["tuned"] = self.models["tuned"]
        return self._add(f"states:{role}:{task}", settings, needs)

    def _data_settings(self, task: str) -> dict[str, Any]:
        plan = self.plan
        cap = _task_cap(plan, self.tasks, task) if plan.trains else 0
        return {
            "rows": digest_of_task(self.tasks[task]),
            "splits": [plan.tasks.train_split, plan.tasks.test_split],
            "template": plan.template.model_dump(),
            "probes": plan.probes.model_dump(),
            "train_examples": cap,
            "seed": plan.training.seed,
            "tokenizer": self.models["base"],
        }


def _task_cap(plan: StudyPlan, tasks: TaskCollection, task: str) -> int:
    """How many training examples a task gives: clusters are filled evenly, small tasks leave room to others."""
    cluster = tasks[task].cluster
    sizes = {
        name: len(tasks[name].splits.get(plan.tasks.train_split, ()))
        for name in tasks
        if tasks[name].cluster == cluster
    }
    budget, caps = plan.training.max_examples_per_cluster, {}
    for position, name in enumerate(sorted(sizes, key=lambda n: (sizes[n], n))):
        caps[name] = min(sizes[name], budget // (len(sizes) - position))
        budget -= caps[name]
    return caps[task]


def digest_of_task(task: Task) -> str:
    """Digest of a task's rows: 64 hexadecimal digits."""
    rows = {
        split: [[e.id, e.instruction, e.input, e.output, list(map(list, e.messages))] for e in examples]
        for split, examples in task.splits.items()
    }
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
