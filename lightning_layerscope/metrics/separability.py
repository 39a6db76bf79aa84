"""Task separability of a layer as metrics."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_layerscope.functional.separability import knn_purity, scatter_ratio, silhouette
from lightning_layerscope.metrics._pairs import LabelledMetric


class ScatterRatio(LabelledMetric):
    """Scatter between tasks over scatter within tasks; see :func:`~lightning_layerscope.functional.scatter_ratio`.

    Args:
        kwargs: Options of :class:`torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = ScatterRatio()
        >>> metric.update(torch.tensor([[0.0], [2.0], [10.0], [12.0]]), torch.tensor([0, 0, 1, 1]))
        >>> metric.compute()
        tensor(25., dtype=torch.float64)
    """

    higher_is_better = True
    plot_lower_bound = 0.0

    def _measure(self, x: Tensor, labels: Tensor) -> Tensor:
        return scatter_ratio(x, labels)


class KNNPurity(LabelledMetric):
    """Share of neighbours of the same task; see :func:`~lightning_layerscope.functional.knn_purity`.

    Args:
        k: Number of neighbours; every task needs k + 1 examples.
        kwargs: Options of :class:`torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = KNNPurity(k=1)
        >>> metric.update(torch.tensor([[0.0], [2.0], [10.0], [12.0]]), torch.tensor([0, 0, 1, 1]))
        >>> metric.compute()
        tensor(1., dtype=torch.float64)
    """

    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def __init__(self, k: int = 10, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if k < 1:
            raise ValueError(f"KNNPurity: expected `k` of at least 1, got {k}.")
        self.k = k
        self._minimum_per_task = max(2, k + 1)

    def _measure(self, x: Tensor, labels: Tensor) -> Tensor:
        return knn_purity(x, labels, k=self.k)


class Silhouette(LabelledMetric):
    """Mean silhouette with tasks as clusters; see :func:`~lightning_layerscope.functional.silhouette`.

    Args:
        kwargs: Options of :class:`torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = Silhouette()
        >>> metric.update(torch.tensor([[0.0], [1.0], [10.0], [11.0]]), torch.tensor([0, 0, 1, 1]))
        >>> round(float(metric.compute()), 4)
        0.8997
    """

    higher_is_better = True
    plot_lower_bound = -1.0
    plot_upper_bound = 1.0

    def _measure(self, x: Tensor, labels: Tensor) -> Tensor:
        return silhouette(x, labels)
