"""Effective rank, participation ratio and components for a share of the variance as metrics."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_layerscope.functional.dimensionality import components_for_variance, effective_rank, participation_ratio
from lightning_layerscope.metrics._pairs import SingleMetric


class EffectiveRank(SingleMetric):
    """Exponential entropy of the singular values; see :func:`~lightning_layerscope.functional.effective_rank`.

    Args:
        kwargs: Options of :class:`torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = EffectiveRank()
        >>> metric.update(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
        >>> round(float(metric.compute()), 4)
        2.0
    """

    plot_lower_bound = 1.0

    def _measure(self, x: Tensor) -> Tensor:
        return effective_rank(x)


class ParticipationRatio(SingleMetric):
    """Squared trace over the trace of the square; see :func:`~lightning_layerscope.functional.participation_ratio`.

    Args:
        kwargs: Options of :class:`torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = ParticipationRatio()
        >>> metric.update(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
        >>> round(float(metric.compute()), 4)
        2.0
    """

    plot_lower_bound = 1.0

    def _measure(self, x: Tensor) -> Tensor:
        return participation_ratio(x)


class ComponentsForVariance(SingleMetric):
    """Components that hold most of the variance; see :func:`~lightning_layerscope.functional.components_for_variance`.

    Args:
        variance: Share of the variance, in (0, 1].
        kwargs: Options of :class:`torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = ComponentsForVariance(variance=0.9)
        >>> metric.update(torch.tensor([[9.0, 0.0], [-9.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
        >>> metric.compute()
        tensor(1., dtype=torch.float64)
    """

    plot_lower_bound = 1.0

    def __init__(self, variance: float = 0.99, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 < variance <= 1:
            raise ValueError(f"ComponentsForVariance: expected `variance` in (0, 1], got {variance}.")
        self.variance = variance

    def _measure(self, x: Tensor) -> Tensor:
        return components_for_variance(x, variance=self.variance)
