"""SVCCA as a metric."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_layerscope.functional.svcca import svcca
from lightning_layerscope.metrics._pairs import PairMetric


class SVCCA(PairMetric):
    """Mean canonical correlation of principal subspaces; see :func:`~lightning_layerscope.functional.svcca`.

    Args:
        variance: Share of the variance to keep on each side, in (0, 1].
        kwargs: Options of :class:`torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = SVCCA()
        >>> x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
        >>> metric.update(x, 2 * x + 1)
        >>> round(float(metric.compute()), 4)
        1.0
    """

    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    _minimum = 3

    def __init__(self, variance: float = 0.99, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 < variance <= 1:
            raise ValueError(f"SVCCA: expected `variance` in (0, 1], got {variance}.")
        self.variance = variance

    def _measure(self, x: Tensor, y: Tensor) -> Tensor:
        return svcca(x, y, variance=self.variance)
