"""How many rows a task gives to the trainings."""

from __future__ import annotations

from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.tasks import TaskCollection


def task_cap(plan: StudyPlan, tasks: TaskCollection, task: str) -> int:
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
