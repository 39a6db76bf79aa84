"""Rows for training and for testing where a source has only one kind."""

from __future__ import annotations

from lightning_layerscope.tasks.sampling import sampling_key
from lightning_layerscope.tasks.task import Task, TaskCollection


def hold_out(tasks: TaskCollection, *, most: int, seed: int = 0) -> TaskCollection:
    """Part the rows of every task into ``"train"`` and ``"test"``, whatever split they were in.

    Args:
        tasks: The tasks.
        most: Rows of each task to hold out, but never more than half of them.
        seed: Seed of the choice.

    Raises:
        ValueError: For a task of a single row.
    """
    parted = []
    for name, task in tasks.items():
        rows = [example for examples in task.splits.values() for example in examples]
        if len(rows) < 2:
            raise ValueError(f"task {name!r} has {len(rows)} row: there is nothing to hold out for testing")
        keys = {example.id: sampling_key(seed, name, example.id) for example in rows}
        held = set(sorted(keys, key=keys.__getitem__)[: min(most, len(rows) // 2)])
        test = tuple(example for example in rows if example.id in held)
        train = tuple(example for example in rows if example.id not in held)
        parted.append(Task(name, task.cluster, {"train": train, "test": test}))
    return TaskCollection(parted, tasks.source)
