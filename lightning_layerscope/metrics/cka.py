"""Linear CKA as metrics: one layer, layer by layer, all pairs of layers."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_layerscope.functional._checks import check_estimator
from lightning_layerscope.functional.cka import cka_layer_matrix, linear_cka
from lightning_layerscope.functional.gram import centered_gram
from lightning_layerscope.metrics._pairs import PairMetric


class LinearCKA(PairMetric):
    """Linear centred kernel alignment; see :func:`~lightning_layerscope.functional.linear_cka`.

    Args:
        estimator: ``"debiased"`` (needs 4 examples) or ``"biased"``.
        kwargs: Options of :class:`torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = LinearCKA()
        >>> x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
        >>> metric.update(x[:12], 2 * x[:12] + 1)
        >>> metric.update(x[12:], 2 * x[12:] + 1)
        >>> round(float(metric.compute()), 4)
        1.0
    """

    higher_is_better = True
    plot_upper_bound = 1.0

    def __init__(self, estimator: str = "debiased", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_estimator(estimator, type(self).__name__)
        self.estimator: str = estimator
        self._minimum = 4 if estimator == "debiased" else 2

    def _measure(self, x: Tensor, y: Tensor) -> Tensor:
        return linear_cka(x, y, estimator=self.estimator)


class LayerwiseCKA(LinearCKA):
    """Linear CKA of every layer with the same layer of the other model: a vector over layers.

    Args:
        num_layers: Layers in every update; any other number is refused.
        estimator: ``"debiased"`` (needs 4 examples) or ``"biased"``.
        kwargs: Options of :class:`torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = LayerwiseCKA(num_layers=2)
        >>> x = torch.randn(2, 20, 3, generator=torch.Generator().manual_seed(0))
        >>> metric.update(x, 2 * x + 1)
        >>> metric.compute().round(decimals=4)
        tensor([1., 1.], dtype=torch.float64)
    """

    def __init__(self, num_layers: int, estimator: str = "debiased", **kwargs: Any) -> None:
        super().__init__(estimator, **kwargs)
        if num_layers < 1:
            raise ValueError(f"{type(self).__name__}: expected `num_layers` of at least 1, got {num_layers}.")
        self.num_layers = num_layers

    def update(self, x: Tensor, y: Tensor, ids: Tensor | None = None) -> None:
        """Add a batch: ``(num_layers, examples, width)`` on both sides, the rest as in :meth:`LinearCKA.update`."""
        for name, side in (("x", x), ("y", y)):
            if side.ndim != 3 or side.shape[0] != self.num_layers:
                raise ValueError(
                    f"{type(self).__name__}: expected `{name}` of shape ({self.num_layers}, examples, width), got "
                    f"{tuple(side.shape)}."
                )
        super().update(x, y, ids)


class LayerCKAMatrix(LayerwiseCKA):
    """Linear CKA between all pairs of layers, ``(layers of x, layers of y)``.

    Args:
        num_layers: Layers in every update, the same on both sides.
        estimator: ``"debiased"`` (needs 4 examples) or ``"biased"``.
        kwargs: Options of :class:`torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = LayerCKAMatrix(num_layers=2)
        >>> x = torch.randn(2, 20, 3, generator=torch.Generator().manual_seed(0))
        >>> metric.update(x, x.flip(0))
        >>> metric.compute().flip(0).diagonal().round(decimals=4)
        tensor([1., 1.], dtype=torch.float64)
    """

    def _measure(self, x: Tensor, y: Tensor) -> Tensor:
        return cka_layer_matrix(centered_gram(x), centered_gram(y), estimator=self.estimator)

    def _value_shape(self, layers: int) -> tuple[int, ...]:
        return (layers, layers)
