"""CKA with a Gaussian kernel as a metric."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_layerscope.functional._checks import check_estimator
from lightning_layerscope.functional.rbf_cka import rbf_cka
from lightning_layerscope.metrics._pairs import PairMetric


class RBFCKA(PairMetric):
    """CKA with Gaussian kernels at the median distance; see :func:`~lightning_layerscope.functional.rbf_cka`.

    Args:
        estimator: ``"debiased"`` or ``"biased"``.
        bandwidth: Kernel width in units of the median distance, positive.
        kwargs: Options of :class:`torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = RBFCKA()
        >>> x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
        >>> metric.update(x, 2 * x + 1)
        >>> round(float(metric.compute()), 4)
        1.0
    """

    higher_is_better = True
    plot_upper_bound = 1.0

    def __init__(self, estimator: str = "debiased", bandwidth: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_estimator(estimator, "RBFCKA")
        if not bandwidth > 0:
            raise ValueError(f"RBFCKA: expected a positive `bandwidth`, got {bandwidth}.")
        self.estimator: str = estimator
        self.bandwidth = bandwidth
        self._minimum = 4 if estimator == "debiased" else 2

    def _measure(self, x: Tensor, y: Tensor) -> Tensor:
        return rbf_cka(x, y, estimator=self.estimator, bandwidth=self.bandwidth)
