"""The base of the metrics that keep the examples' rows until the end: exact, and the same on one process or many.

A row is one example's vector in every layer. Rows are stored flat (one-dimensional), because torchmetrics joins the
ranks' lists along the first axis and hands a rank without data an empty one-dimensional tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_layerscope.metrics._base import SteadyMetric, joined

_NOTHING_SEEN = -(2**40)
# The same example run in two different batches differs by rounding (bfloat16: up to a few percent in a row);
# a different example differs by its own size.
_SAME_ROW = 0.1


class RowMetric(SteadyMetric):
    """States, distribution and de-duplication for metrics over rows of examples.

    A subclass names its ``_sides`` (tensors with one row per example), says what ``_too_few`` examples are, and
    computes in ``_measure``. Memory: 4 bytes x examples x layers x width for every side, on the metric's device
    (``compute_on_cpu=True`` keeps them on the CPU).
    """

    _sides: tuple[str, ...] = ("x", "y")
    _labelled = False
    # Takes the sides, and the labels where there are any. (An attribute, so that subclasses can name their arguments.)
    _measure: Callable[..., Tensor]

    sizes: Tensor
    ids: list[Tensor]
    labels: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in (*self._sides, "ids", *(["labels"] if self._labelled else [])):
            self.add_state(name, default=[], dist_reduce_fx="cat")
        # Layers (0: no such axis) and widths, then the same negated: one maximum over ranks yields both extremes,
        # and where they differ the ranks disagree. It is a state, so that ranks without data learn the shapes.
        self.add_state("sizes", torch.full((2 * (1 + len(self._sides)),), _NOTHING_SEEN), dist_reduce_fx="max")

    def _add(self, sides: Sequence[Tensor], ids: Tensor | None, labels: Tensor | None = None) -> None:
        name = type(self).__name__
        layers = self._check_sides(sides)
        count = sides[0].shape[-2]
        self._check_codes("ids", ids, count)
        if self._labelled:
            self._check_codes("labels", labels, count)
        shape = [layers, *(side.shape[-1] for side in sides)]
        sizes = torch.tensor(shape + [-size for size in shape], device=self.sizes.device)
        if bool((self.sizes != _NOTHING_SEEN).any()) and not torch.equal(self.sizes, sizes):
            raise ValueError(
                f"{name}: this batch has (layers, widths) {tuple(shape)}, earlier ones had "
                f"{tuple(self.sizes[: len(shape)].tolist())}. Use one metric per model, and reset() between models."
            )
        with torch.no_grad():
            self.sizes = sizes
            for side, tensor in zip(self._sides, sides, strict=True):
                rows = tensor.detach().to(device=self.device, dtype=torch.float32, copy=True)
                getattr(self, side).append((rows.movedim(-2, 0) if layers else rows).reshape(-1))
            for state, codes in (("ids", ids), ("labels", labels)):
                if codes is not None:
                    getattr(self, state).append(codes.detach().to(device=self.device, dtype=torch.int64, copy=True))

    def _check_sides(self, sides: Sequence[Tensor]) -> int:
        name, first = type(self).__name__, sides[0]
        for side, tensor in zip(self._sides, sides, strict=True):
            if tensor.ndim not in (2, 3):
                raise ValueError(
                    f"{name}: expected `{side}` of shape (examples, width) or (layers, examples, width), got "
                    f"{tuple(tensor.shape)}."
                )
            if tensor.shape[:-1] != first.shape[:-1]:
                raise ValueError(
                    f"{name}: all sides must hold the same layers and the same examples in the same order, got "
                    f"{tuple(first.shape)} and {tuple(tensor.shape)}."
                )
            if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
                raise ValueError(
                    f"{name}: expected finite floating-point hidden states in `{side}`, got {tensor.dtype}."
                )
        return first.shape[0] if first.ndim == 3 else 0

    def _check_codes(self, what: str, codes: Tensor | None, count: int) -> None:
        if codes is None and what == "ids":
            return
        if not isinstance(codes, Tensor) or codes.shape != (count,) or codes.is_floating_point():
            got = f"{codes.dtype} of shape {tuple(codes.shape)}" if isinstance(codes, Tensor) else type(codes).__name__
            raise ValueError(f"{type(self).__name__}: expected integer `{what}` of shape ({count},), got {got}.")

    def compute(self) -> Tensor:
        """The value over all examples seen on all ranks, in float64; NaN where it is undefined by mathematics."""
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            sides, labels, repeated = self._collect()
            layers, count = (sides[0].shape[0], sides[0].shape[1]) if sides[0].ndim == 3 else (0, sides[0].shape[0])
            reason = self._too_few(count, labels)
            if not reason:
                return self._measure(*sides, *([labels] if labels is not None else []))
            left_out = f" ({repeated} repeated ids left out)" if repeated else ""
            return self._refuse(reason + left_out, self._value_shape(layers))

    def _too_few(self, count: int, labels: Tensor | None) -> str:
        """Why there are too few examples, or an empty string."""
        raise NotImplementedError

    def _value_shape(self, layers: int) -> tuple[int, ...]:
        return (layers,) if layers else ()

    def _collect(self) -> tuple[list[Tensor], Tensor | None, int]:
        """Every side as ``([layers,] examples, width)``, every example once, in the order of the ids."""
        name = type(self).__name__
        half = len(self._sides) + 1
        shape = self.sizes[:half].tolist()
        if shape[0] == _NOTHING_SEEN:
            raise ValueError(f"{name} has seen no examples; call update() before compute().")
        if shape != [-size for size in self.sizes[half:].tolist()]:
            raise ValueError(f"{name}: ranks (or merged metrics) hold hidden states of different layers or widths.")
        layers, widths = shape[0], shape[1:]
        rows = [
            joined(getattr(self, side)).reshape(-1, max(layers, 1), width)
            for side, width in zip(self._sides, widths, strict=True)
        ]
        labels = joined(self.labels) if self._labelled else None
        ids = joined(self.ids) if len(self.ids) else torch.empty(0)
        count = rows[0].shape[0]
        if ids.numel() not in (0, count):
            raise ValueError(
                f"{name}: {ids.numel()} of {count} examples came with ids; give ids in every update or in none."
            )
        repeated = 0
        if ids.numel():
            keep, twin = _first_of_each(ids)
            repeated = count - keep.numel()
            for side in rows:
                _check_repeats(name, ids, side, side[twin])
            if labels is not None and not torch.equal(labels, labels[twin]):
                raise ValueError(
                    f"{name}: an example id came with two different labels; ids must be unique over all tasks."
                )
            rows = [side[keep] for side in rows]
            labels = labels[keep] if labels is not None else None
        return [side.movedim(0, -2) if layers else side.squeeze(1) for side in rows], labels, repeated


def _first_of_each(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Position of the first row of every id (ordered by id), and for every row the position of its first twin."""
    order = torch.argsort(ids, stable=True)
    ordered = ids[order]
    is_first = torch.ones_like(ordered, dtype=torch.bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    keep = order[is_first]
    twin = torch.empty_like(order)
    twin[order] = keep[is_first.long().cumsum(0) - 1]
    return keep, twin


def _check_repeats(name: str, ids: Tensor, rows: Tensor, twins: Tensor) -> None:
    apart = (rows - twins).flatten(1).norm(dim=1) > _SAME_ROW * twins.flatten(1).norm(dim=1)
    if bool(apart.any()):
        raise ValueError(
            f"{name}: example id {int(ids[apart][0])} came with two different hidden states. Ids must be unique over "
            "all data loaders and tasks, and the metric must be reset() when the model has changed."
        )
