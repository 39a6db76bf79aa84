"""The report's pictures: SVG in the page's colours, and the values behind the cells for tooltips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps

from lightning_layerscope.charts import old_curves, old_heatmaps, old_render, old_squares
from lightning_layerscope.charts.old_heatmaps import SIMILARITY_COLOURS
from lightning_layerscope.charts.words import Floats, group, limits, measure_name, step_name
from lightning_layerscope.profiles import LayerProfile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lightning_layerscope.measurements import Measurement, RunRecord


@dataclass(frozen=True)
class Picture:
    """One drawing of a figure that may have several.

    Attributes:
        name: on its tab.
        svg: safe to put into the page as it is.
        cells: for tooltips: where the cells lie in the picture, and what they hold; ``None`` for curves.
    """

    name: str
    svg: str
    cells: dict[str, Any] | None = None


def chosen(record: RunRecord) -> list[tuple[str, Measurement]]:
    """First, middle and last measurement with their names, each once."""
    measurements = record.measurements
    names = {0: "first", len(measurements) // 2: "middle", len(measurements) - 1: "last"}
    if len(measurements) < 3:
        names = {0: "first", len(measurements) - 1: "last"} if len(measurements) == 2 else {0: "last"}
    return [(name, measurements[position]) for position, name in sorted(names.items())]


def curves(record: RunRecord) -> list[Picture]:
    """The layer curve with first, middle and last measurement."""
    shown = chosen(record)
    last = record.measurements[-1]
    figure = old_curves.layer_curve(
        LayerProfile.concat(each.profile for _, each in shown),
        steps=[each.step for _, each in shown],
        names=[name for name, _ in shown],
        transition=last.transition,
    )
    label = f"Mean over tasks per layer{_at(last)}. {last.transition.describe()}"
    return [Picture("", old_render.to_svg(figure, name="curve", label=label))]


Drawn = dict[int, tuple["Measurement", Picture]]
"""Step -> measurement and its picture of layer x task."""


def layer_x_task(record: RunRecord, drawn: Drawn) -> list[Picture]:
    """Layer x task for first, middle and last measurement, and the last once more in the range of its own values.

    Args:
        record: of the run.
        drawn: what was drawn for earlier reports of this run; what is drawn now is added, and what no later report can
            need goes.
    """
    last = record.measurements[-1]
    values = last.profile.matrix()
    defined = values[np.isfinite(values)]
    pictures = []
    for name, each in chosen(record):
        known, picture = drawn.get(each.step, (None, None))
        if picture is None or known is not each:  # also where training went back and measured this step anew
            picture = _layer_x_task(each, name=f"layer-task-{each.step}")
            drawn[each.step] = (each, picture)
        pictures.append(replace(picture, name=", ".join(filter(None, (name, step_name(each.profile, each.step))))))
    # The middle moves on: of what was the last once, the later half will be the middle.
    later = {each.step for each in record.measurements[len(record) // 2 :]} | {record.measurements[0].step}
    for step in drawn.keys() - later:
        del drawn[step]
    low, high = limits(last.profile.measure, values)
    if defined.size and 0 < np.ptp(defined) < 0.6 * (high - low):
        scale = float(defined.min()), float(defined.max())
        own = _layer_x_task(last, name="layer-task-own", scale=scale)
        pictures.append(replace(own, name="last, own colour range"))
    return pictures


def _layer_x_task(measurement: Measurement, *, name: str, scale: tuple[float, float] | None = None) -> Picture:
    profile = measurement.profile
    figure = old_heatmaps.heatmap_layer_x_task(profile, transition=measurement.transition, scale=scale)
    label = f"{measure_name(profile.measure)} per task and layer{_at(measurement)}; the table holds the values"
    order = list(group(profile.tasks, profile.clusters).order)
    values = {column: profile.matrix(column=column)[order] for column in ("value", "low", "high")}
    cells = _cells(figure, [profile.tasks[place] for place in order], _numbered(profile.layers), **values)
    return Picture("", old_render.to_svg(figure, name=name, label=label), cells)


def layer_x_step(record: RunRecord) -> list[Picture]:
    """Mean over tasks per layer and measurement."""
    profile, means = record.measurements[-1].profile, record.task_means
    figure = old_heatmaps.heatmap_layer_x_step(profile, means=means)
    values = np.stack(list(means.values()), axis=1)
    label = "Mean over tasks per layer, measurement after measurement"
    columns = [f"step {step:,}" for step in means]
    cells = _cells(figure, _numbered(profile.layers)[::-1], columns, value=values[::-1])
    return [Picture("", old_render.to_svg(figure, name="layer-step", label=label), cells)]


def layer_x_layer(record: RunRecord) -> list[Picture]:
    """Layer x layer of the last measurement that has it; none where no measurement does."""
    for each in reversed(record.measurements):
        if each.layer_x_layer is not None:
            layers = each.profile.layers
            figure = old_squares.heatmap_layer_x_layer(
                each.layer_x_layer, layers, step=_shown(each), tasks=len(each.profile.tasks)
            )
            label = f"Similarity between all layers of the model{_at(each)}"
            names = _numbered(layers)
            cells = _cells(figure, names[::-1], names, value=np.asarray(each.layer_x_layer)[::-1])
            return [Picture("", old_render.to_svg(figure, name="layer-layer", label=label), cells)]
    return []


def task_x_task(record: RunRecord) -> list[Picture]:
    """Task x task of the last measurement, one picture per chosen layer."""
    last = record.measurements[-1]
    profile = last.profile
    order = list(group(profile.tasks, profile.clusters).order)
    tasks = [profile.tasks[position] for position in order]
    pictures = []
    for layer, matrix in sorted(last.task_x_task.items()):
        figure = old_squares.heatmap_task_x_task(matrix, profile.tasks, profile.clusters, layer, step=_shown(last))
        label = f"Cosine between the tasks' mean states at layer {layer}{_at(last)}"
        cells = _cells(figure, tasks, tasks, value=np.asarray(matrix)[np.ix_(order, order)])
        pictures.append(
            Picture(f"layer {layer}", old_render.to_svg(figure, name=f"task-task-{layer}", label=label), cells)
        )
    return pictures


def ribbon(measurement: Measurement) -> list[dict[str, Any]]:
    """One entry per layer: number, colour of its mean, the mean in words, and which part of the cut it belongs to."""
    profile, cut = measurement.profile, measurement.transition
    mean = measurement.task_mean
    low, high = limits(profile.measure, mean)
    colours = colormaps[SIMILARITY_COLOURS]
    entries = []
    for layer, value in zip(profile.layers, mean, strict=True):
        part = next((name for name in ("shared", "transition", "refinement") if layer in getattr(cut, name)), "")
        red, green, blue = (round(255 * share) for share in colours((value - low) / (high - low))[:3])
        known = math.isfinite(value)
        colour = f"rgb({red}, {green}, {blue})" if known else "var(--undefined)"
        entries.append(
            {"layer": layer, "colour": colour, "value": f"{value:.3f}" if known else "undefined", "part": part}
        )
    return entries


def _cells(figure: Figure, rows: Sequence[str], columns: Sequence[str], **values: Floats) -> dict[str, Any]:
    """Values by row from the top, and the box of the cells in shares of the picture's width and height."""
    cells_box = figure.axes[0].get_position()
    box = [round(number, 5) for number in (cells_box.x0, 1 - cells_box.y1, cells_box.width, cells_box.height)]
    plain = {name: [[_short(value) for value in row] for row in matrix.tolist()] for name, matrix in values.items()}
    return {"box": box, "rows": list(rows), "columns": list(columns), **plain}


def _at(measurement: Measurement) -> str:
    when = step_name(measurement.profile, measurement.step)
    return f" at {when}" if when else ""


def _shown(measurement: Measurement) -> int | None:
    """The step, where it is one of a run."""
    return measurement.step if step_name(measurement.profile, measurement.step) else None


def _short(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _numbered(layers: Sequence[int]) -> list[str]:
    return [f"layer {layer}" for layer in layers]
