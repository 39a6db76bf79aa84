"""The built-in retention set: short prompts with answers of what any language model should keep being able to do."""

from __future__ import annotations

from pathlib import Path

from lightning_layerscope.tasks.jsonl import load_jsonl
from lightning_layerscope.tasks.task import Task, TaskCollection

_FOLDER = Path(__file__).parent / "retention"
CLUSTER = "retention"


def general_tasks() -> TaskCollection:
    """Six skills of 32 prompts each, to see what a training on other tasks loses.

    ``arithmetic``, ``facts``, ``instructions``, ``language``, ``reading`` and ``reasoning``, in one cluster,
    ``"retention"``, all in the split ``"test"``. The text was written for this package; no two prompts share a
    template, so that the prompts of a skill count as independent. Prompts are 3 to 30 words long, answers 1 to 8. They
    are easy on purpose: what counts is not how well a model does here, but whether it does worse than before.

    Example:
        >>> tasks = general_tasks()
        >>> len(tasks), {len(task.split("test")) for task in tasks.values()}
        (6, {32})
        >>> tasks["facts"].split("test")[0].output
        'Paris'
    """
    tasks = load_jsonl(_FOLDER)
    return TaskCollection([Task(task.name, CLUSTER, task.splits) for task in tasks.values()], source="general")
