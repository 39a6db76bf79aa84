"""What all metrics here add to torchmetrics: ranks without data, merging, dtypes that stay, small batches, plots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import rank_zero_warn

from lightning_layerscope.compat.torchmetrics import add_states, empty_list_states, is_synced
from lightning_layerscope.metrics._plots import PlotResult, draw


class SteadyMetric(Metric):
    """A metric that gives the same value however its examples are spread over batches and processes."""

    is_differentiable = False
    higher_is_better: bool | None = None
    full_state_update = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._in_forward = False

    def _refuse(self, reason: str, value_shape: tuple[int, ...]) -> Tensor:
        """Raise because of ``reason``; in ``forward``, whose batch may be a small last one, warn and return NaN."""
        reason = f"{type(self).__name__} {reason}."
        if not self._in_forward:
            raise ValueError(f"{reason} Update it with more examples before calling compute().")
        rank_zero_warn(f"{reason} The value of this batch alone is NaN; the accumulated one is not affected.")
        return torch.full(value_shape, torch.nan, dtype=torch.float64, device=self.device)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Update with a batch and return that batch's own value, NaN with a warning where the batch is too small."""
        self._in_forward = True
        try:
            return super().forward(*args, **kwargs)
        finally:
            self._in_forward = False

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """As in torchmetrics; a rank without data takes part with empty tensors of the right type."""
        for name in list(empty_list_states(self)):
            dtype = torch.int64 if name in ("ids", "labels") else torch.float32
            setattr(self, name, [torch.empty(0, dtype=dtype, device=self.device)])
        super().sync(*args, **kwargs)
        if is_synced(self):
            # A rank that has seen nothing new would return its kept value and leave the others waiting for it.
            self.compute_with_cache = False

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the examples of another metric of the same class (or its ``metric_state``)."""
        if isinstance(incoming_state, Metric):
            if not isinstance(incoming_state, type(self)):
                raise ValueError(
                    f"Expected a {type(self).__name__} or its state to merge, got {type(incoming_state).__name__}."
                )
            incoming_state = incoming_state.metric_state
        add_states(self, incoming_state)

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> Any:
        return super()._apply(keeping_dtype(fn), *args, **kwargs)

    def plot(self, val: Tensor | Sequence[Tensor] | None = None, ax: Any = None) -> PlotResult:
        """Draw one value, a curve over layers, a matrix, or a list of values over steps.

        Args:
            val: What ``compute`` or ``forward`` returned, or a list of such; by default ``compute()`` is called.
            ax: Matplotlib axes to draw into; by default a new figure.

        Returns:
            Figure (None when ``ax`` was given) and axes.
        """
        return draw(self, val, ax)


def keeping_dtype(fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Let ``module.to(...)`` move a state to another device but never round it, as ``.to(torch.bfloat16)`` would."""

    def move(tensor: Tensor) -> Tensor:
        moved = fn(tensor)
        return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

    return move


def joined(state: list[Tensor] | Tensor) -> Tensor:
    # A list while accumulating, one tensor after the ranks were joined.
    return state if isinstance(state, Tensor) else torch.cat(state)
