"""Mutual k-nearest neighbours as a metric."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_layerscope.functional.mutual_knn import Distance, mutual_knn
from lightning_layerscope.metrics._pairs import PairMetric


class MutualKNN(PairMetric):
    """Mean share of common nearest neighbours; see :func:`~lightning_layerscope.functional.mutual_knn`.

    Args:
        k: Number of neighbours; needs k + 2 examples.
        distance: ``"cosine"`` after centring, or ``"euclidean"``.
        kwargs: Options of :class:`torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = MutualKNN(k=2)
        >>> x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
        >>> metric.update(x, 2 * x + 1)
        >>> metric.compute()
        tensor(1., dtype=torch.float64)
    """

    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def __init__(self, k: int = 10, distance: Distance = "cosine", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if k < 1:
            raise ValueError(f"MutualKNN: expected `k` of at least 1, got {k}.")
        if distance not in ("euclidean", "cosine"):
            raise ValueError(f'MutualKNN: expected `distance` "euclidean" or "cosine", got {distance!r}.')
        self.k = k
        self.distance: Distance = distance
        self._minimum = k + 2

    def _measure(self, x: Tensor, y: Tensor) -> Tensor:
        return mutual_knn(x, y, k=self.k, distance=self.distance)
