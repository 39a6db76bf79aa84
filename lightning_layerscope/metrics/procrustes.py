"""Orthogonal Procrustes as metrics."""

from __future__ import annotations

from torch import Tensor

from lightning_layerscope.functional.procrustes import procrustes_distance, procrustes_similarity
from lightning_layerscope.metrics._pairs import PairMetric


class ProcrustesSimilarity(PairMetric):
    """Similarity after the best rotation; see :func:`~lightning_layerscope.functional.procrustes_similarity`.

    Args:
        kwargs: Options of :class:`torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = ProcrustesSimilarity()
        >>> x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
        >>> metric.update(x, 2 * x.flip(-1) + 1)
        >>> round(float(metric.compute()), 4)
        1.0
    """

    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def _measure(self, x: Tensor, y: Tensor) -> Tensor:
        return procrustes_similarity(x, y)


class ProcrustesDistance(PairMetric):
    """Squared distance after the best rotation; see :func:`~lightning_layerscope.functional.procrustes_distance`.

    Args:
        kwargs: Options of :class:`torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = ProcrustesDistance()
        >>> metric.update(torch.tensor([[1.0], [-1.0], [0.0], [0.0]]), torch.tensor([[0.0], [0.0], [1.0], [-1.0]]))
        >>> metric.compute()
        tensor(2., dtype=torch.float64)
    """

    higher_is_better = False
    plot_lower_bound = 0.0
    plot_upper_bound = 2.0

    def _measure(self, x: Tensor, y: Tensor) -> Tensor:
        return procrustes_distance(x, y)
