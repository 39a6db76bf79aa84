"""Task-to-task similarity of a layer as metrics."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_layerscope.functional._checks import check_estimator
from lightning_layerscope.functional.task_similarity import (
    covariance_overlap,
    mean_noise,
    specialist_cka,
    task_mean_cosine,
)
from lightning_layerscope.metrics._pairs import SingleMetric, TaskMatrixMetric


class TaskMeanCosine(TaskMatrixMetric):
    """Cosine of the task means about the grand mean; see :func:`~lightning_layerscope.functional.task_mean_cosine`.

    Args:
        num_tasks: Number of tasks; labels are 0..num_tasks-1.
        estimator: ``"debiased"`` (needs 2 examples of every task) or ``"biased"`` (1).
        kwargs: Options of :class:`torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = TaskMeanCosine(num_tasks=4, estimator="biased")
        >>> metric.update(torch.tensor([[5.0, 1.0], [5.0, -1.0], [6.0, 0.0], [4.0, 0.0]]), torch.arange(4))
        >>> metric.compute()[0].round(decimals=3) + 0.0
        tensor([ 1., -1.,  0.,  0.], dtype=torch.float64)
    """

    higher_is_better = None
    plot_lower_bound = -1.0
    plot_upper_bound = 1.0

    def __init__(self, num_tasks: int, estimator: str = "debiased", **kwargs: Any) -> None:
        super().__init__(num_tasks, **kwargs)
        check_estimator(estimator, "TaskMeanCosine")
        self.estimator: str = estimator
        self._minimum_per_task = 2 if estimator == "debiased" else 1

    def _measure(self, x: Tensor, labels: Tensor) -> Tensor:
        states = [x[..., labels == task, :] for task in range(self.num_tasks)]
        means = torch.stack([each.double().mean(dim=-2) for each in states], dim=-2)
        noise = None
        if self.estimator == "debiased":
            noise = torch.stack([mean_noise(each) for each in states], dim=-1)
        return task_mean_cosine(means, noise, self.estimator)


class CovarianceOverlap(TaskMatrixMetric):
    """Cosine of the tasks' covariance matrices; see :func:`~lightning_layerscope.functional.covariance_overlap`.

    Args:
        num_tasks: Number of tasks; labels are 0..num_tasks-1.
        estimator: ``"debiased"`` (needs 4 examples of every task) or ``"biased"`` (2).
        kwargs: Options of :class:`torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = CovarianceOverlap(num_tasks=2, estimator="biased")
        >>> metric.update(torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, 5.0]]), torch.tensor([0, 0, 1, 1]))
        >>> metric.compute().round(decimals=3)
        tensor([[1., 0.],
                [0., 1.]], dtype=torch.float64)
    """

    def __init__(self, num_tasks: int, estimator: str = "debiased", **kwargs: Any) -> None:
        super().__init__(num_tasks, **kwargs)
        check_estimator(estimator, "CovarianceOverlap")
        self.estimator: str = estimator
        self._minimum_per_task = 4 if estimator == "debiased" else 2

    def _measure(self, x: Tensor, labels: Tensor) -> Tensor:
        return covariance_overlap([x[..., labels == task, :] for task in range(self.num_tasks)], self.estimator)


class SpecialistCKA(SingleMetric):
    """Linear CKA between specialists at one layer; see :func:`~lightning_layerscope.functional.specialist_cka`.

    Args:
        num_specialists: Models in every update: ``x`` is ``(num_specialists, examples, width)``, all for the same
            prompts.
        estimator: ``"debiased"`` (needs 4 examples) or ``"biased"``.
        kwargs: Options of :class:`torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = SpecialistCKA(num_specialists=2)
        >>> x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
        >>> metric.update(torch.stack([x, 2 * x + 1]))
        >>> metric.compute()[0].round(decimals=4)
        tensor([1., 1.], dtype=torch.float64)
    """

    def __init__(self, num_specialists: int, estimator: str = "debiased", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_specialists < 2:
            raise ValueError(f"SpecialistCKA: expected `num_specialists` of at least 2, got {num_specialists}.")
        check_estimator(estimator, "SpecialistCKA")
        self.num_specialists = num_specialists
        self.estimator: str = estimator
        self._minimum = 4 if estimator == "debiased" else 2

    def update(self, x: Tensor, ids: Tensor | None = None) -> None:
        """Add a batch of prompts: ``(num_specialists, examples, width)``, and their ids where they may repeat."""
        if x.ndim != 3 or x.shape[0] != self.num_specialists:
            raise ValueError(
                f"SpecialistCKA: expected `x` of shape ({self.num_specialists}, examples, width), got {tuple(x.shape)}."
            )
        super().update(x, ids)

    def _measure(self, x: Tensor) -> Tensor:
        return specialist_cka(list(x), self.estimator)

    def _value_shape(self, layers: int) -> tuple[int, ...]:
        return (layers, layers)
