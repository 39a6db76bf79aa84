"""Examples by task and split -> a collection."""

from __future__ import annotations

from collections.abc import Mapping

from lightning_layerscope.tasks.task import UNCLUSTERED, Example, Task, TaskCollection


class TaskBuilder:
    """Collects examples by task and split, then makes the collection.

    Args:
        source: Where they come from.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._examples: dict[str, dict[str, list[Example]]] = {}

    def add(self, task: str, split: str, example: Example) -> None:
        """Put one example where it belongs."""
        self._examples.setdefault(task, {}).setdefault(split, []).append(example)

    @property
    def names(self) -> list[str]:
        """The tasks seen so far."""
        return list(self._examples)

    def build(self, clusters: Mapping[str, str] | None = None) -> TaskCollection:
        """Make the collection; tasks that ``clusters`` does not name are ``UNCLUSTERED``.

        Raises:
            ValueError: Without any example, or when ``clusters`` names tasks that are not there.
        """
        tasks = [
            Task(name, UNCLUSTERED, {split: tuple(rows) for split, rows in splits.items()})
            for name, splits in self._examples.items()
        ]
        return TaskCollection(tasks, self.source).with_clusters(clusters or {})
