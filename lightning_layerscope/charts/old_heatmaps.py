"""Heatmaps of a profile: layer x task for one measurement, layer x step for a whole run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lightning_layerscope.charts import grid, style
from lightning_layerscope.charts.words import Floats, context, group, limits, measure_name, spread, ticks
from lightning_layerscope.wording import count

if TYPE_CHECKING:
    from lightning_layerscope.profiles import LayerProfile
    from lightning_layerscope.transitions import Transition

SIMILARITY_COLOURS = "viridis"
LEFT, TOP, BOTTOM = 0.14, 0.72, 0.86
# For the note on undefined cells, kept free where there are none: trackers lay pictures of one size over each other.
NOTE_ROOM = 0.16


@style.styled
def heatmap_layer_x_task(
    profile: LayerProfile,
    *,
    step: int | None = None,
    measure: str | None = None,
    transition: Transition | None = None,
    scale: tuple[float, float] | None = None,
) -> Figure:
    """Every task's value at every layer, tasks grouped by cluster.

    Args:
        profile: where the values are.
        step: which measurement; the last by default.
        measure: which measure; the headline by default.
        transition: mark its first and last layer above the cells.
        scale: lowest and highest value of the colours. By default 0 and 1 for a similarity, at every step of every run,
            so that pictures can be compared; debiased values below 0 keep the lowest colour and point the bar's end.

    Returns:
        The figure; undefined cells are hatched, with their reason below. ``figure.axes[0]`` holds the cells.

    Raises:
        KeyError: if the profile has no such measure or step.
    """
    name = measure or profile.measure
    rows = profile.rows(name, step)
    when = int(rows["step"].iloc[0])
    grouping = group(profile.tasks, profile.clusters)
    values = profile.matrix(name, when)[list(grouping.order)]
    low, high = scale or limits(name, values)
    layers = profile.layers
    tasks = len(grouping.tasks)
    width = float(np.clip(0.235 * len(layers), 3.4, 9.0))
    height = tasks * (0.155 if tasks > 24 else 0.2)
    left = LEFT + style.text_width(grouping.tasks, grid.SMALL) + 0.16
    above = TOP + (0.24 if transition is not None else 0.0)
    figure = style.canvas(
        max(left + width + grid.bracket_room(grouping), 6.2), above + max(height, 0.8) + BOTTOM + NOTE_ROOM
    )
    bottom = BOTTOM + NOTE_ROOM
    axes = style.place(figure, left, bottom, width, max(height, 0.8))
    image = grid.draw_cells(axes, values, low, high, colours=SIMILARITY_COLOURS)
    grid.layer_ticks(axes, layers, width)
    grid.task_ticks(axes, grouping.tasks)
    grid.separate(axes, grouping)
    grid.bracket(axes, grouping, width)
    axes.set_xlabel("layer", labelpad=2)
    style.headline(figure, LEFT, f"{measure_name(name)} per layer and task", context(profile, name, when))
    if transition is not None:
        _mark(figure, transition, layers, left, bottom + max(height, 0.8), width)
    grid.colour_bar(figure, image, (left, bottom - 0.6, min(width, 2.4), 0.1), measure_name(name), values)
    grid.undefined_note(figure, left, 0.14, values, rows.loc[rows["value"].isna(), "reason"].tolist())
    return figure


@style.styled
def heatmap_layer_x_step(
    profile: LayerProfile,
    *,
    measure: str | None = None,
    scale: tuple[float, float] | None = None,
    means: Mapping[int, Floats] | None = None,
) -> Figure:
    """The mean over tasks at every layer, measurement after measurement.

    Args:
        profile: of all measurements so far; where ``means`` are given, that of any of them.
        measure: which measure; the headline by default.
        scale: lowest and highest value of the colours; fixed by default, see :func:`heatmap_layer_x_task`.
        means: step -> ``(layers,)`` mean over tasks of ``measure``, where it is at hand; computed by default.

    Raises:
        KeyError: if the profile has no such measure.
    """
    name = measure or profile.measure
    rows = profile.frame[profile.frame["measure"] == name]
    if rows.empty:
        raise KeyError(f"no measure {name!r} in this profile; it has {profile.measures}")
    if means is None:
        steps = [int(step) for step in np.sort(rows["step"].unique())]
        means = {step: profile.mean_curve(name, step)["value"].to_numpy(dtype=np.float64) for step in steps}
    steps = sorted(means)
    values: Floats = np.stack([means[step] for step in steps], axis=1)
    low, high = scale or limits(name, values)
    layers = profile.layers
    width = float(np.clip(0.34 * len(steps), 5.2, 8.0))
    height = float(np.clip(0.17 * len(layers), 1.6, 6.0))
    left, note = LEFT + 0.52, NOTE_ROOM
    bottom = BOTTOM + note
    figure = style.canvas(max(left + width + 0.3, 6.2), TOP + height + bottom)
    axes = style.place(figure, left, bottom, width, height)
    image = grid.draw_cells(axes, values, low, high, colours=SIMILARITY_COLOURS, upward=True)
    grid.layer_ticks(axes, layers, height, vertical=True)
    letters = style.text_width([f"{step:,}" for step in steps], 7.5) + 0.12
    shown = ticks(len(steps), max(2, int(width / letters)))
    axes.set_xticks(shown, labels=[f"{steps[position]:,}" for position in shown])
    axes.set_xlabel("training step", labelpad=2)
    axes.set_ylabel("layer")
    sub = f"{context(profile, name, steps[-1])} · {count(len(steps), 'measurement')}"
    style.headline(figure, LEFT, f"{measure_name(name)} per layer over training, mean over tasks", sub)
    grid.colour_bar(figure, image, (left, bottom - 0.6, min(width, 2.4), 0.1), measure_name(name), values)
    grid.undefined_note(figure, left, 0.14, values, ["no task has a value there"])
    return figure


def _mark(figure: Figure, transition: Transition, layers: list[int], left: float, bottom: float, width: float) -> None:
    """Name the three parts on a line above the cells, or say that there are none."""
    y, cell = bottom + 0.09, width / len(layers)
    parts = [part for part in ("shared", "transition", "refinement") if getattr(transition, part)]
    if not transition.found:
        style.write(figure, left, y, f"no {transition.kind} found", fontsize=7.5, color=style.MUTED, style="italic")
        return
    whole, tall = figure.get_size_inches()
    shown = [part for part in parts if set(getattr(transition, part)) & set(layers)]
    centres = []
    for part in shown:
        members = [position for position, layer in enumerate(layers) if layer in getattr(transition, part)]
        first, last = left + cell * members[0] + 0.02, left + cell * (members[-1] + 1) - 0.02
        colour = style.BAND if part == "transition" else style.MUTED
        figure.add_artist(_line(first / whole, last / whole, (y - 0.03) / tall, colour))
        centres.append((first + last) / 2)
    widths = [style.text_width([part], 7.5) + 0.1 for part in shown]
    for part, centre in zip(shown, spread(centres, widths, left, left + width), strict=True):
        style.write(figure, centre, y + 0.02, part, fontsize=7.5, ha="center", color=style.INK)


def _line(x0: float, x1: float, y: float, colour: str) -> Line2D:
    return Line2D((x0, x1), (y, y), color=colour, linewidth=2.2, solid_capstyle="butt")
