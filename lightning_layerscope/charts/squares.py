"""Square heatmaps: layer x layer of one model, task x task at one layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from lightning_layerscope.charts import rows
from lightning_layerscope.charts.cells import LAYERS_UP, SECOND, TASKS, Axis, heatmap
from lightning_layerscope.charts.shape import Words
from lightning_layerscope.charts.words import Floats, beyond, clean, group, limits, measure_name
from lightning_layerscope.wording import count


def heatmap_layer_x_layer(
    matrix: Any,
    layers: Sequence[int],
    *,
    step: int | None = None,
    measure: str = "cka",
    tasks: int | None = None,
    scale: tuple[float, float] | None = None,
) -> alt.LayerChart:
    """Similarity of every layer with every other layer of the same model, mean over tasks.

    Args:
        matrix: ``(layers, layers)``, NaN where undefined.
        layers: Their numbers.
        step: Of the measurement, for the title.
        measure: Of the similarity, for title and range.
        tasks: How many tasks it is the mean of, for the title.
        scale: Lowest and highest value of the colours; fixed by default.

    Raises:
        ValueError: If the matrix does not fit the layers.
    """
    values = _square(matrix, len(layers), "layers")
    span = scale or limits(measure, values)
    below = [
        f"step {step:,}" if step is not None else "",
        f"mean over {count(tasks, 'task')}" if tasks else "current model",
    ]
    words = Words(
        f"{measure_name(measure)} between layers",
        " · ".join(part for part in below if part),
        beyond(values, *span),
        measure_name(measure),
    )
    return heatmap(rows.square_cells(values, layers, "layer"), Axis(SECOND, "layer"), LAYERS_UP, words, limits=span)


def heatmap_task_x_task(
    matrix: Any,
    tasks: Sequence[str],
    clusters: Mapping[str, str],
    layer: int,
    *,
    step: int | None = None,
    scale: tuple[float, float] = (-1.0, 1.0),
) -> alt.LayerChart:
    """How close the tasks' mean states are at one layer: cosine after removing the grand mean, two colours around 0.

    Args:
        matrix: ``(tasks, tasks)``, NaN where undefined.
        tasks: Their names.
        clusters: Cluster of each task.
        layer: Where, for the title.
        step: Of the measurement, for the title.
        scale: Lowest and highest value of the colours.

    Raises:
        ValueError: If the matrix does not fit the tasks.
    """
    order = list(group(tasks, clusters).order)
    values = _square(matrix, len(tasks), "tasks")[np.ix_(order, order)]
    when = f"step {step:,} · " if step is not None else ""
    words = Words(
        f"Tasks beside tasks at layer {layer}",
        f"{when}cosine of task means around their grand mean",
        beyond(values, *scale),
        "cosine",
    )
    cells = rows.square_cells(
        values,
        [tasks[place] for place in order],
        "task",
        "a task mean lies hardly farther from the grand mean than its noise",
    )
    spans = rows.cluster_spans(tasks, clusters)
    return heatmap(cells, Axis(SECOND, names=True), TASKS, words, limits=scale, diverging=True, brackets=spans)


def _square(matrix: Any, size: int, what: str) -> Floats:
    values = np.asarray(matrix, dtype=np.float64)
    if values.shape != (size, size):
        raise ValueError(
            f"expected a matrix of shape ({size}, {size}) for {size} {what}, got {clean(str(values.shape))}; "
            f"pass one row and one column per entry of `{what}`"
        )
    return values
