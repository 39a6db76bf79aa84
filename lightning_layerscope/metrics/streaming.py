"""Linear CKA from running sums: for far more examples than dimensions, or one batch at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_layerscope.functional._checks import check_estimator, minimum_examples
from lightning_layerscope.functional.minibatch import cka_from_minibatch_terms, minibatch_terms
from lightning_layerscope.functional.streaming import StreamingSums, streaming_cka
from lightning_layerscope.metrics._base import SteadyMetric, joined


class StreamingCKA(SteadyMetric):
    """Exact linear CKA of any number of examples; see :func:`~lightning_layerscope.functional.streaming_cka`.

    Keeps float64 sums instead of rows: 8 bytes x (width_x^2 + width_y^2 + width_x width_y), however many the examples.
    Choose :class:`LinearCKA` where the examples are fewer than the dimensions. Products run in float64 here, because
    the processes cannot agree on a shift before they have seen their data.

    Sums cannot forget: an example that comes twice counts twice. With ``ids`` in every update a repetition is found at
    ``compute`` and refused.

    Args:
        width_x: Width of the first side.
        width_y: Width of the second side.
        estimator: ``"debiased"`` (needs 4 examples) or ``"biased"``.
        kwargs: Options of :class:`torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = StreamingCKA(width_x=3, width_y=3)
        >>> x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
        >>> for batch in x.split(8):
        ...     metric.update(batch, 2 * batch + 1)
        >>> round(float(metric.compute()), 4)
        1.0
    """

    higher_is_better = True
    plot_upper_bound = 1.0

    ids: list[Tensor]

    def __init__(self, width_x: int, width_y: int, estimator: str = "debiased", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_estimator(estimator)
        if min(width_x, width_y) < 1:
            raise ValueError(f"StreamingCKA: expected positive widths, got {width_x} and {width_y}.")
        self.width_x, self.width_y, self.estimator = width_x, width_y, estimator
        zeros = StreamingSums.zeros(width_x, width_y)
        for name in StreamingSums.names():
            self.add_state(f"sum_{name}", getattr(zeros, name), dist_reduce_fx="sum")
        self.add_state("ids", [], dist_reduce_fx="cat")

    def update(self, x: Tensor, y: Tensor, ids: Tensor | None = None) -> None:
        """Add a batch of examples.

        Args:
            x: ``(examples, width_x)``, floating point.
            y: The same examples, ``(examples, width_y)``.
            ids: Integer ``(examples,)``, unique per example over all ranks; a repetition makes ``compute`` raise.

        Raises:
            ValueError: Shapes that do not match the widths or each other, or non-finite values.
        """
        if ids is not None and (ids.shape != x.shape[:1] or ids.is_floating_point()):
            raise ValueError(f"StreamingCKA: expected integer `ids` of shape ({len(x)},), got {tuple(ids.shape)}.")
        with torch.no_grad():
            batch = StreamingSums.zeros(self.width_x, self.width_y, device=self.device)
            none = (torch.zeros(width, device=self.device) for width in (self.width_x, self.width_y))
            batch.update(x.detach().to(self.device).double(), y.detach().to(self.device).double(), *none)
            # Not in place: a state made in inference mode may not be written to outside it.
            for name in StreamingSums.names():
                setattr(self, f"sum_{name}", getattr(self, f"sum_{name}") + getattr(batch, name))
            if ids is not None:
                self.ids.append(ids.detach().to(device=self.device, dtype=torch.int64, copy=True))

    def compute(self) -> Tensor:
        """The value over all examples seen on all ranks, ``()`` in float64; NaN where it is undefined."""
        sums = StreamingSums(*(getattr(self, f"sum_{name}") for name in StreamingSums.names()))
        count = int(sums.count)
        if count < minimum_examples(self.estimator):
            return self._refuse(f"needs at least {minimum_examples(self.estimator)} examples, got {count}", ())
        ids = joined(self.ids) if len(self.ids) else torch.empty(0)
        if ids.numel() not in (0, count):
            raise ValueError(
                f"StreamingCKA: {ids.numel()} of {count} examples came with ids; give ids always or never."
            )
        repeated = count - torch.unique(ids).numel() if ids.numel() else 0
        if repeated:
            raise ValueError(
                f"StreamingCKA: {repeated} of {count} examples came twice (a distributed sampler pads), and sums "
                "cannot take them back. Use LinearCKA, which keeps the rows, or a sampler that does not pad."
            )
        return streaming_cka(sums, self.estimator)


class MinibatchCKA(SteadyMetric):
    """Linear CKA from unbiased terms of single batches; see :func:`~lightning_layerscope.functional.minibatch_cka`.

    Keeps three numbers per layer. The value depends on the batches by definition, and batches of fewer than 4 examples
    have no unbiased terms: use ``drop_last``, or :class:`LinearCKA`. It takes no ids and cannot drop repeated examples.

    Args:
        num_layers: Layers in every update; None for tensors without a layer axis.
        kwargs: Options of :class:`torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = MinibatchCKA()
        >>> x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
        >>> for batch in x.split(8):
        ...     metric.update(batch, 2 * batch + 1)
        >>> round(float(metric.compute()), 4)
        1.0
    """

    higher_is_better = True
    plot_upper_bound = 1.0

    terms: Tensor
    batches: Tensor

    def __init__(self, num_layers: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_layers is not None and num_layers < 1:
            raise ValueError(f"MinibatchCKA: expected `num_layers` of at least 1 or None, got {num_layers}.")
        self.num_layers = num_layers
        shape = (3,) if num_layers is None else (num_layers, 3)
        self.add_state("terms", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("batches", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, x: Tensor, y: Tensor) -> None:
        """Add a batch.

        Args:
            x: ``(examples, width_x)``, or ``(num_layers, examples, width_x)``; at least 4 examples.
            y: The same examples and layers, ``(..., examples, width_y)``.

        Raises:
            ValueError: Wrong shapes, fewer than 4 examples (drop a small last batch, or make the batches larger), or
                non-finite values.
        """
        if x.shape[:-2] != self.terms.shape[:-1]:
            layers = "" if self.num_layers is None else f"{self.num_layers}, "
            raise ValueError(
                f"MinibatchCKA: expected ({layers}examples, width), got {tuple(x.shape)}; set `num_layers` to match."
            )
        pairs = x.shape[-2] * (x.shape[-2] - 3)
        self.terms = self.terms + minibatch_terms(x, y).to(self.device) * pairs
        self.batches = self.batches + 1

    def compute(self) -> Tensor:
        """The value over all batches on all ranks, ``()`` or ``(layers,)`` in float64; NaN without variance."""
        if int(self.batches) == 0:
            return self._refuse("has seen no batch", tuple(self.terms.shape[:-1]))
        return cka_from_minibatch_terms(self.terms)
