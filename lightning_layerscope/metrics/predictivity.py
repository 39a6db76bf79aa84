"""Linear predictivity as a metric."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_layerscope.functional.predictivity import linear_predictivity
from lightning_layerscope.metrics._pairs import PairMetric


class LinearPredictivity(PairMetric):
    """Leave-one-out R^2 of ridge regression, x to y; see :func:`~lightning_layerscope.functional.linear_predictivity`.

    Args:
        ridge: Penalty relative to the mean eigenvalue of the Gram matrix of x, positive.
        kwargs: Options of :class:`torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = LinearPredictivity(ridge=1e-4)
        >>> x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
        >>> metric.update(x, 2 * x + 1)
        >>> round(float(metric.compute()), 4)
        1.0
    """

    higher_is_better = True
    plot_upper_bound = 1.0
    _minimum = 3

    def __init__(self, ridge: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not ridge > 0:
            raise ValueError(f"LinearPredictivity: expected a positive `ridge`, got {ridge}.")
        self.ridge = ridge

    def _measure(self, x: Tensor, y: Tensor) -> Tensor:
        return linear_predictivity(x, y, ridge=self.ridge)
