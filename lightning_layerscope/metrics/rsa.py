"""Representational similarity analysis as a metric."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_layerscope.functional.rsa import Correlation, Dissimilarity, rsa
from lightning_layerscope.metrics._pairs import PairMetric


class RSA(PairMetric):
    """Correlation of two matrices of distances; see :func:`~lightning_layerscope.functional.rsa`.

    Args:
        correlation: ``"spearman"`` or ``"pearson"``.
        dissimilarity: ``"euclidean"`` or ``"correlation"``.
        kwargs: Options of :class:`torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = RSA()
        >>> metric.update(torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([[0.0], [1.0], [9.0], [49.0]]))
        >>> round(float(metric.compute()), 4)
        1.0
    """

    higher_is_better = True
    plot_lower_bound = -1.0
    plot_upper_bound = 1.0
    _minimum = 3

    def __init__(
        self, correlation: Correlation = "spearman", dissimilarity: Dissimilarity = "euclidean", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if correlation not in ("spearman", "pearson"):
            raise ValueError(f'RSA: expected `correlation` "spearman" or "pearson", got {correlation!r}.')
        if dissimilarity not in ("euclidean", "correlation"):
            raise ValueError(f'RSA: expected `dissimilarity` "euclidean" or "correlation", got {dissimilarity!r}.')
        self.correlation: Correlation = correlation
        self.dissimilarity: Dissimilarity = dissimilarity

    def _measure(self, x: Tensor, y: Tensor) -> Tensor:
        return rsa(x, y, correlation=self.correlation, dissimilarity=self.dissimilarity)
