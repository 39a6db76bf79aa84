"""Metrics of two sides with the same examples, of one side, and of one side with task labels."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_layerscope.metrics._rows import RowMetric


class PairMetric(RowMetric):
    """Two sides, row by row the same examples."""

    _sides = ("x", "y")
    _minimum = 2

    def update(self, x: Tensor, y: Tensor, ids: Tensor | None = None) -> None:
        """Add a batch of examples.

        Args:
            x: ``(examples, width_x)`` or ``(layers, examples, width_x)``, floating point.
            y: The same examples and layers of the other side, ``(..., examples, width_y)``.
            ids: Integer ``(examples,)``, unique per example over all ranks and loaders. Given, an example that comes
                twice (the padding of a distributed sampler) counts once, and the result does not depend on the order.

        Raises:
            ValueError: Shapes that do not match each other or earlier batches, or non-finite values.
        """
        self._add((x, y), ids)

    def _too_few(self, count: int, labels: Tensor | None) -> str:
        return "" if count >= self._minimum else f"needs at least {self._minimum} examples, got {count}"


class SingleMetric(RowMetric):
    """One side."""

    _sides = ("x",)
    _minimum = 2

    def update(self, x: Tensor, ids: Tensor | None = None) -> None:
        """Add a batch of examples.

        Args:
            x: ``(examples, width)`` or ``(layers, examples, width)``, floating point.
            ids: Integer ``(examples,)``, unique per example over all ranks and loaders; repeated ids count once.

        Raises:
            ValueError: Shapes that do not match earlier batches, or non-finite values.
        """
        self._add((x,), ids)

    def _too_few(self, count: int, labels: Tensor | None) -> str:
        return "" if count >= self._minimum else f"needs at least {self._minimum} examples, got {count}"


class LabelledMetric(RowMetric):
    """One side and a task label per example."""

    _sides = ("x",)
    _labelled = True
    _minimum_per_task = 2

    def update(self, x: Tensor, labels: Tensor, ids: Tensor | None = None) -> None:
        """Add a batch of examples.

        Args:
            x: ``(examples, width)`` or ``(layers, examples, width)``, floating point.
            labels: Integer ``(examples,)``: the task of every example.
            ids: Integer ``(examples,)``, unique per example over all ranks, loaders and tasks; repeated ids count once.

        Raises:
            ValueError: Shapes that do not match each other or earlier batches, or non-finite values.
        """
        self._add((x,), ids, labels)

    def _too_few(self, count: int, labels: Tensor | None) -> str:
        assert labels is not None
        tasks, counts = torch.unique(labels, return_counts=True)
        if tasks.numel() < 2:
            return f"needs at least two tasks, got {tasks.numel()}"
        if int(counts.min()) < self._minimum_per_task:
            task = int(tasks[counts.argmin()])
            return f"needs at least {self._minimum_per_task} examples of task {task}, got {int(counts.min())}"
        return ""


class TaskMatrixMetric(LabelledMetric):
    """One side with task labels 0..num_tasks-1, and a matrix over the tasks as the value."""

    def __init__(self, num_tasks: int, **kwargs: object) -> None:
        super().__init__(**kwargs)
        if num_tasks < 2:
            raise ValueError(f"{type(self).__name__}: expected `num_tasks` of at least 2, got {num_tasks}.")
        self.num_tasks = num_tasks

    def update(self, x: Tensor, labels: Tensor, ids: Tensor | None = None) -> None:
        """Add a batch; ``labels`` are task numbers 0..num_tasks-1, the rest as in the other labelled metrics."""
        if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < self.num_tasks:
            raise ValueError(
                f"{type(self).__name__}: expected task labels 0..{self.num_tasks - 1}, got "
                f"{int(labels.min())}..{int(labels.max())}."
            )
        super().update(x, labels, ids)

    def _value_shape(self, layers: int) -> tuple[int, ...]:
        return (*super()._value_shape(layers), self.num_tasks, self.num_tasks)

    def _too_few(self, count: int, labels: Tensor | None) -> str:
        assert labels is not None
        counts = torch.bincount(labels, minlength=self.num_tasks)
        if int(counts.min()) < self._minimum_per_task:
            task = int(counts.argmin())
            return f"needs at least {self._minimum_per_task} examples of task {task}, got {int(counts.min())}"
        return ""
