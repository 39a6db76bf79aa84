"""The stages of a study and what each depends on."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from lightning_layerscope.study.engine.stage import Stage
from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.prepare.budgets import TaskBudget, task_budgets
from lightning_layerscope.study.results.results_stage import ResultsStage
from lightning_layerscope.study.stages.check import CheckStage
from lightning_layerscope.study.stages.compare import AnyMeasurement, CompareStage
from lightning_layerscope.study.stages.controls import KeptControl, KeptControls
from lightning_layerscope.study.stages.data import DataStage
from lightning_layerscope.study.stages.imported import ImportedStage
from lightning_layerscope.study.stages.probes import ProbesStage
from lightning_layerscope.study.stages.roles import Base, Control, Multitask, Role, Tuned
from lightning_layerscope.study.stages.states import Checkpoint, Measuring, StatesStage
from lightning_layerscope.study.stages.train import Recipe, TrainStage
from lightning_layerscope.tasks import TaskCollection

AnyStage = Stage[Any, Any]
StageT = TypeVar("StageT", bound=AnyStage)


@dataclass(frozen=True)
class StudyGraph:
    """All stages, in an order in which they can run.

    Attributes:
        stages: Name to stage.
        results: The last one.
        trained: Tasks that the multi-task model is trained on.
        held_out: Tasks that it is not trained on.
    """

    stages: Mapping[str, AnyStage]
    results: ResultsStage
    trained: tuple[str, ...]
    held_out: tuple[str, ...]

    def resolve(self, names: Sequence[str]) -> list[str]:
        """Stage names from what a person types: a stage, a kind (``control``), or a control of every seed.

        Raises:
            ValueError: If there is no such stage; the message shows the kinds there are.
        """
        matched: dict[str, None] = {}
        for name in names:
            matches = [known for known, stage in self.stages.items() if name in (known, stage.kind, *stage.aliases)]
            if not matches:
                near = difflib.get_close_matches(name, self.stages, n=1)
                kinds = sorted({stage.kind for stage in self.stages.values()})
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(
                    f"no stage {name!r} in this study{hint} Stages are named <kind> or <kind>:<task>, with the kinds "
                    f"{', '.join(kinds)}"
                )
            matched.update(dict.fromkeys(matches))
        return list(matched)

    def upstream(self, names: Sequence[str]) -> list[AnyStage]:
        """The named stages (see :meth:`resolve`) and all they need, in running order."""
        wanted: set[str] = set()
        pending = [self.stages[name] for name in self.resolve(names)]
        while pending:
            stage = pending.pop()
            if stage.name not in wanted:
                wanted.add(stage.name)
                pending.extend(stage.inputs)
        return [stage for name, stage in self.stages.items() if name in wanted]


def build_graph(
    plan: StudyPlan, tasks: TaskCollection, models: Mapping[str, str], controls: KeptControls | None = None
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
        _check_covers(controls, tasks, models["base"])
    builder = _Builder(plan, tasks, models, trained, controls)
    results = builder.build()
    return StudyGraph(builder.stages, results, trained, held_out)


class _Builder:
    """Adds stages in an order in which they can run: data, multi-task model, then task by task."""

    def __init__(
        self,
        plan: StudyPlan,
        tasks: TaskCollection,
        models: Mapping[str, str],
        trained: tuple[str, ...],
        controls: KeptControls | None,
    ) -> None:
        self.plan, self.tasks, self.models, self.trained, self.kept = plan, tasks, models, trained, controls
        self.stages: dict[str, AnyStage] = {}
        self.recipe = Recipe(plan.training, plan.template, models["base"], plan.dtype, plan.threads)
        self.measuring = Measuring(
            base=models["base"],
            dtype=plan.dtype,
            bank_dtype=plan.bank_dtype,
            max_tokens_per_batch=plan.max_tokens_per_batch,
            max_length=plan.training.max_length,
            accelerator=plan.training.accelerator,
            threads=plan.threads,
        )

    def build(self) -> ResultsStage:
        plan = self.plan
        self.budgets = task_budgets(plan, self.tasks, self.kept) if plan.trains else {}
        self.data = {name: self._add(self._data_stage(name, budget)) for name, budget in self.budgets.items()}
        self.probes = {name: self._add(self._probes_stage(name)) for name in self.tasks}
        tuned_role: Role = Tuned()
        self.multitask: TrainStage | None = None
        tuned: TrainStage | Checkpoint
        if plan.tuned is not None:
            tuned = Checkpoint(plan.tuned, self.models["tuned"])
        else:
            tuned_role = Multitask()
            tuned = self.multitask = self._add(self._training(tuned_role, self.trained))
        # One model after the other rather than one task after the other: whole checkpoints are loaded once each.
        base_states = {name: self._add(self._states_stage(Base(), name, None)) for name in self.tasks}
        tuned_states = {name: self._add(self._states_stage(tuned_role, name, tuned)) for name in self.tasks}
        comparisons = []
        for name in self.tasks:
            controls, beside = self._controls(name)
            comparison = CompareStage(
                task=name,
                base=base_states[name],
                tuned=tuned_states[name],
                controls=controls,
                beside=beside,
                estimator=plan.estimator,
                measures=tuple(plan.measures),
                confidence=plan.confidence,
            )
            comparisons.append(self._add(comparison))
        results = ResultsStage(
            comparisons=tuple(comparisons),
            checks=tuple(self._add(self._check_stage(name, tuned)) for name in self.tasks if plan.layer_check),
            data=tuple(self.data.values()),
            trained=self.trained,
            study=plan.name,
            map_layers=tuple(plan.map_layers),
            confidence=plan.confidence,
        )
        return self._add(results)

    def _add(self, stage: StageT) -> StageT:
        self.stages[stage.name] = stage
        return stage

    def _data_stage(self, task: str, budget: TaskBudget) -> DataStage:
        split, seed = self.plan.tasks.train_split, self.plan.training.seed
        return DataStage.of(self.tasks[task], split=split, seed=seed, count=budget.train_rows)

    def _validation_stage(self, task: str) -> DataStage:
        budget, split, seed = self.budgets[task], self.plan.tasks.train_split, self.plan.training.seed
        return DataStage.to_validate(
            self.tasks[task], split=split, seed=seed, start=budget.train_rows, count=budget.validation_rows
        )

    def _probes_stage(self, task: str) -> ProbesStage:
        plan = self.plan
        return ProbesStage.of(
            self.tasks[task],
            split=plan.tasks.test_split,
            probes=plan.probes,
            template=plan.template,
            tokenizer=self.models["base"],
        )

    def _training(self, role: Role, tasks: Sequence[str], *, alone: bool = False) -> TrainStage:
        budget = role.budget if isinstance(role, Control) else ""
        return TrainStage(
            role=role,
            task=tasks[0] if alone else None,
            recipe=self.recipe,
            data=tuple(self.data[name] for name in tasks),
            probes=tuple(self.probes[name] for name in tasks),
            paced_by=self.multitask if budget == "equal_steps" else None,
            judged_by=self._add(self._validation_stage(tasks[0])) if budget == "converged" else None,
        )

    def _states_stage(self, role: Role, task: str, model: TrainStage | Checkpoint | None) -> StatesStage:
        return StatesStage(
            role=role,
            task=task,
            probes=self.probes[task],
            model=model,
            measuring=self.measuring,
            template=self.plan.template,
            pictured=not isinstance(role, Control),
        )

    def _check_stage(self, task: str, model: TrainStage | Checkpoint) -> CheckStage:
        check = self.plan.layer_check
        assert check is not None
        if not all(example.output.strip() for example in self.tasks[task].split(self.plan.tasks.test_split)):
            raise ValueError(
                f"layer_check scores answers, and the task {task!r} has held-out rows without one: leave the task out "
                "(tasks.select), or remove 'layer_check'"
            )
        return CheckStage(
            task=task,
            probes=self.probes[task],
            model=model,
            measuring=self.measuring,
            template=self.plan.template,
            rows=check.rows_per_task,
            ways=tuple(check.ways),
        )

    def _controls(self, task: str) -> tuple[tuple[AnyMeasurement, ...], tuple[AnyMeasurement, ...]]:
        """A task's controls and those beside them: taken over, or trained here; none where only models are compared."""
        if self.kept is not None:
            kept = [(each.beside, self._add(self._import_stage(each, task))) for each in self.kept.by_task[task]]
            controls = tuple(stage for beside, stage in kept if not beside)
            return controls, tuple(stage for beside, stage in kept if beside)
        if not self.plan.trains:
            return (), ()
        budget = self.budgets[task]
        return (
            tuple(self._measured_control(role, task) for role in budget.controls),
            tuple(self._measured_control(role, task) for role in budget.beside),
        )

    def _measured_control(self, role: Control, task: str) -> StatesStage:
        training = self._add(self._training(role, [task], alone=True))
        return self._add(self._states_stage(role, task, training))

    def _import_stage(self, control: KeptControl, task: str) -> ImportedStage:
        assert self.kept is not None
        return ImportedStage(
            task=task,
            probes=self.probes[task],
            control=control,
            template=self.plan.template,
            max_length=self.plan.training.max_length,
            max_length_there=self.kept.max_length,
        )


def _check_covers(controls: KeptControls, tasks: TaskCollection, base: str) -> None:
    """Raise ValueError unless there is a control of this base model for every task."""
    if controls.base != base:
        raise ValueError(
            f"the controls in {controls.root} were fine-tuned from another base model than the plan's (its content "
            "differs); give that one as 'model', or train controls of this one (remove 'controls')"
        )
    if lacking := [name for name in tasks if all(each.beside for each in controls.by_task.get(name, ()))]:
        raise ValueError(
            f"the controls in {controls.root} have none for the tasks {lacking[:5]}; they are of "
            f"{sorted(controls.by_task)}. Choose among these (tasks.select), or train controls (remove 'controls')"
        )
