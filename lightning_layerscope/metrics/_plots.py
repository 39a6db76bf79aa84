"""How a metric's value is drawn: torchmetrics' own plot, a line over layers, or an image for a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torchmetrics import Metric

from lightning_layerscope._extras import require

PlotResult = tuple[Any, Any]


def draw(metric: Metric, val: Tensor | Sequence[Tensor] | None, ax: Any) -> PlotResult:
    """Figure (None when ``ax`` was given) and axes with ``val``, by default the metric's current value."""
    val = metric.compute() if val is None else val
    if not isinstance(val, Tensor) or val.ndim == 0:
        result: PlotResult = metric._plot(val, ax)
        return result
    if val.ndim > 2:
        raise ValueError(f"Cannot draw a value of shape {tuple(val.shape)}; choose one layer's matrix, as in value[3].")
    plt = require("matplotlib.pyplot", extra="plot")
    figure, axes = plt.subplots() if ax is None else (None, ax)
    values = val.detach().cpu().numpy()
    if val.ndim == 1:
        axes.plot(range(1, len(values) + 1), values, marker="o")
        axes.set(xlabel="layer", ylabel=type(metric).__name__)
    else:
        image = axes.imshow(values, origin="lower", aspect="auto")
        axes.set_title(type(metric).__name__)
        axes.figure.colorbar(image, ax=axes)
    return figure, axes
