"""Square heatmaps: layer x layer of one model, task x task at one layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lightning_layerscope.charts import grid, style
from lightning_layerscope.charts.old_heatmaps import BOTTOM, LEFT, NOTE_ROOM, SIMILARITY_COLOURS, TOP
from lightning_layerscope.charts.words import Floats, clean, group, limits, measure_name
from lightning_layerscope.wording import count

SIGNED_COLOURS = "RdBu_r"


@style.styled
def heatmap_layer_x_layer(
    matrix: Any,
    layers: Sequence[int],
    *,
    step: int | None = None,
    measure: str = "cka",
    tasks: int | None = None,
    scale: tuple[float, float] | None = None,
) -> Figure:
    """Similarity of every layer with every other layer of the same model, mean over tasks.

    Args:
        matrix: ``(layers, layers)``, NaN where undefined.
        layers: their numbers.
        step: of the measurement, for the title.
        measure: of the similarity, for title and range.
        tasks: how many tasks it is the mean of, for the title.
        scale: lowest and highest value of the colours; fixed by default.

    Raises:
        ValueError: if the matrix does not fit the layers.
    """
    values = _square(matrix, len(layers), "layers")
    low, high = scale or limits(measure, values)
    side = float(np.clip(0.15 * len(layers), 2.4, 5.6))
    left, note = LEFT + 0.5, NOTE_ROOM
    bottom = BOTTOM + note
    figure = style.canvas(max(left + side + 0.4, 5.0), TOP + side + bottom)
    axes = style.place(figure, left, bottom, side, side)
    image = grid.draw_cells(axes, values, low, high, colours=SIMILARITY_COLOURS, upward=True)
    grid.layer_ticks(axes, layers, side)
    grid.layer_ticks(axes, layers, side, vertical=True)
    axes.set_xlabel("layer", labelpad=2)
    axes.set_ylabel("layer")
    sub = [
        f"step {step:,}" if step is not None else "",
        f"mean over {count(tasks, 'task')}" if tasks else "current model",
    ]
    style.headline(figure, LEFT, f"{measure_name(measure)} between layers", " · ".join(part for part in sub if part))
    grid.colour_bar(figure, image, (left, bottom - 0.6, min(side, 2.4), 0.1), measure_name(measure), values)
    grid.undefined_note(figure, left, 0.14, values, [])
    return figure


@style.styled
def heatmap_task_x_task(
    matrix: Any,
    tasks: Sequence[str],
    clusters: Mapping[str, str],
    layer: int,
    *,
    step: int | None = None,
    scale: tuple[float, float] = (-1.0, 1.0),
) -> Figure:
    """How close the tasks' mean states are at one layer: cosine after removing the grand mean, blue to red.

    Args:
        matrix: ``(tasks, tasks)``, NaN where undefined.
        tasks: their names.
        clusters: cluster of each task.
        layer: where, for the title.
        step: of the measurement, for the title.
        scale: lowest and highest value of the colours.

    Raises:
        ValueError: if the matrix does not fit the tasks.
    """
    values = _square(matrix, len(tasks), "tasks")
    grouping = group(tasks, clusters)
    values = values[np.ix_(grouping.order, grouping.order)]
    row = 0.155 if len(tasks) > 24 else 0.2
    side = max(row * len(tasks), 1.6)
    names = style.text_width(grouping.tasks, grid.SMALL) + 0.16
    left, bar, note = LEFT + names, 0.5, NOTE_ROOM
    bottom = names + bar + note + 0.06
    figure = style.canvas(max(left + side + grid.bracket_room(grouping), 6.0), TOP + side + bottom)
    axes = style.place(figure, left, bottom, side, side)
    image = grid.draw_cells(axes, values, *scale, colours=SIGNED_COLOURS)
    grid.task_ticks(axes, grouping.tasks)
    grid.task_ticks(axes, grouping.tasks, vertical=False)
    grid.separate(axes, grouping, both=True)
    grid.bracket(axes, grouping, side)
    when = f"step {step:,} · " if step is not None else ""
    style.headline(
        figure, LEFT, f"Tasks beside tasks at layer {layer}", f"{when}cosine of task means around their grand mean"
    )
    grid.colour_bar(figure, image, (left, note + 0.3, min(side, 2.4), 0.1), "cosine", values)
    grid.undefined_note(figure, left, 0.12, values, ["a task mean equals the grand mean"])
    return figure


def _square(matrix: Any, size: int, what: str) -> Floats:
    values = np.asarray(matrix, dtype=np.float64)
    if values.shape != (size, size):
        raise ValueError(
            f"expected a matrix of shape ({size}, {size}) for {size} {what}, got {clean(str(values.shape))}; "
            f"pass one row and one column per entry of `{what}`"
        )
    return values
