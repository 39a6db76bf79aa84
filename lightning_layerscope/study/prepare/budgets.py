"""How long each control is trained, and which rows it is trained and judged on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lightning_layerscope.study.plan import Budget, StudyPlan, Training
from lightning_layerscope.study.stages.controls import KeptControls
from lightning_layerscope.study.stages.roles import Control
from lightning_layerscope.tasks import TaskCollection

_FEW_STEPS = 1000
"""A control of fewer optimiser steps than this under ``same_examples`` is trained until it converges instead."""
_VALIDATION_ROWS = 32
_LEAST_VALIDATION_ROWS = 5


@dataclass(frozen=True)
class TaskBudget:
    """What a task gives to the trainings.

    Attributes:
        train_rows: Rows that the multi-task model and its controls are trained on.
        validation_rows: Further rows, on which a control's convergence is judged; 0 where none needs them.
        controls: Those that count for the verdict: they differ in their seed alone.
        beside: Those of another budget.
    """

    train_rows: int
    validation_rows: int
    controls: tuple[Control, ...]
    beside: tuple[Control, ...]


def task_budgets(plan: StudyPlan, tasks: TaskCollection, kept: KeptControls | None = None) -> dict[str, TaskBudget]:
    """The budget of every task; it depends on the task and its cluster's sizes alone.

    Args:
        plan: The plan.
        tasks: Its tasks.
        kept: Controls that are taken over: the multi-task model sees no more rows of a task than these did.

    Raises:
        ValueError: If ``extra_controls`` names tasks that are not there, or a task has too few rows for a control that
            is trained until it converges.
    """
    named = {name for extra in plan.extra_controls for name in extra.tasks}
    if unknown := sorted(named - set(tasks)):
        raise ValueError(f"extra_controls names tasks that are not there: {unknown}; the tasks are {list(tasks)}")
    caps = _caps(plan, tasks)
    if kept is not None:
        rows = {name: min(control.training.rows for control in kept.by_task[name]) for name in tasks}
        return {name: TaskBudget(min(caps[name], rows[name]), 0, (), ()) for name in tasks}
    return {name: _task_budget(plan, name, caps[name], _available(plan, tasks, name)) for name in tasks}


def _task_budget(plan: StudyPlan, task: str, cap: int, available: int) -> TaskBudget:
    recipe, spare = plan.training, min(_VALIDATION_ROWS, available // 5)
    budget = _resolve(recipe, cap, spare)
    controls = dict.fromkeys(Control(seed, budget) for seed in recipe.control_seeds)
    beside = dict[Control, None]()
    for extra in plan.extra_controls:
        if task in extra.tasks:
            for seed in recipe.control_seeds if extra.seeds is None else extra.seeds:
                control = Control(seed, extra.budget or budget)
                (controls if control.budget == budget else beside)[control] = None
    if not any(control.budget == "converged" for control in (*controls, *beside)):
        return TaskBudget(cap, 0, tuple(controls), tuple(beside))
    if spare < _LEAST_VALIDATION_ROWS:
        raise ValueError(
            f"task {task!r} has {available} training rows, and a control that is trained until it converges needs "
            f"{5 * _LEAST_VALIDATION_ROWS}, a fifth of which are set aside; leave the task out (tasks.select), or "
            "choose another budget (training.control_budget)"
        )
    # Rows beyond the cap are free; where there are not enough of these, fewer are trained on.
    return TaskBudget(min(cap, available - spare), spare, tuple(controls), tuple(beside))


def _resolve(recipe: Training, cap: int, spare: int) -> Budget:
    if recipe.control_budget != "auto":
        return recipe.control_budget
    steps = recipe.epochs * math.ceil(math.ceil(cap / recipe.batch_size) / recipe.accumulate)
    return "converged" if steps < _FEW_STEPS and spare >= _LEAST_VALIDATION_ROWS else "same_examples"


def _caps(plan: StudyPlan, tasks: TaskCollection) -> Mapping[str, int]:
    """How many rows a task may give: clusters are filled evenly, small tasks leave room to others."""
    caps: dict[str, int] = {}
    most = plan.training.max_examples_per_task or math.inf
    for cluster in dict.fromkeys(tasks.clusters.values()):
        sizes = {
            name: int(min(_available(plan, tasks, name), most)) for name in tasks if tasks[name].cluster == cluster
        }
        left = plan.training.max_examples_per_cluster
        for position, name in enumerate(sorted(sizes, key=lambda n: (sizes[n], n))):
            caps[name] = min(sizes[name], left // (len(sizes) - position))
            left -= caps[name]
    return caps


def _available(plan: StudyPlan, tasks: TaskCollection, task: str) -> int:
    return len(tasks[task].splits.get(plan.tasks.train_split, ()))
