"""What all heatmaps share: the cells, undefined ones among them, the colour bar, and the brackets around clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_layerscope.charts import style
from lightning_layerscope.charts.words import Floats, Grouping, clean, pointed, ticks
from lightning_layerscope.wording import count

SMALL = 7.0
"""Points of a task's name."""


def draw_cells(axes: Axes, values: Floats, low: float, high: float, *, colours: str, upward: bool = False) -> Any:
    """Draw ``(rows, columns)``; undefined cells show the hatched ground behind them."""
    axes.patch.set(facecolor=style.UNDEFINED, edgecolor=style.UNDEFINED_LINES, hatch="//////", linewidth=0)
    image = axes.imshow(
        np.ma.masked_invalid(values),
        cmap=colormaps[colours].resampled(128),
        vmin=low,
        vmax=high if high > low else low + 1.0,
        aspect="auto",
        interpolation="none",
        origin="lower" if upward else "upper",
    )
    axes.tick_params(length=2)
    for side in axes.spines.values():
        side.set_visible(False)
    return image


def layer_ticks(axes: Axes, layers: Sequence[int], inches: float, *, vertical: bool = False) -> None:
    """Number the layers on one side, as many as there is room for, the first and the last among them."""
    room = 0.17 if vertical else 0.24
    shown = ticks(len(layers), max(2, int(inches / room)))
    axis = axes.yaxis if vertical else axes.xaxis
    axis.set_ticks(shown, labels=[str(layers[position]) for position in shown])


def task_ticks(axes: Axes, tasks: Sequence[str], *, vertical: bool = True) -> None:
    """Name every task on one side."""
    positions = range(len(tasks))
    if vertical:
        axes.set_yticks(positions, labels=list(tasks), fontsize=SMALL, parse_math=False)
    else:
        axes.set_xticks(positions, labels=list(tasks), fontsize=SMALL, rotation=90, parse_math=False)


def separate(axes: Axes, grouping: Grouping, *, both: bool = False) -> None:
    """Lines of the ground's colour between clusters."""
    for _, first, _ in grouping.spans[1:]:
        axes.axhline(first - 0.5, color=style.PAPER, linewidth=1.4)
        if both:
            axes.axvline(first - 0.5, color=style.PAPER, linewidth=1.4)


def bracket(axes: Axes, grouping: Grouping, inches: float) -> None:
    """A bracket and its cluster's name beside the rows, where there is more than one; ``inches``: the axes' width."""
    if len(grouping.spans) < 2:
        return
    across = axes.get_yaxis_transform()
    gap, arm = 0.07 / inches, 0.05 / inches
    for position, (cluster, first, rows) in enumerate(grouping.spans):
        colour = style.COLOURS[position % len(style.COLOURS)]
        top, bottom = first - 0.36, first + rows - 0.64
        x = 1 + gap
        points = [(x, top), (x + arm, top), (x + arm, bottom), (x, bottom)]
        axes.plot(
            *zip(*points, strict=True),
            transform=across,
            color=colour,
            linewidth=1.3,
            clip_on=False,
            scalex=False,
            scaley=False,
        )
        axes.text(
            x + 2 * arm,
            (top + bottom) / 2,
            cluster,
            transform=across,
            va="center_baseline",
            fontsize=SMALL,
            color=style.INK,
            parse_math=False,
        )


def bracket_room(grouping: Grouping) -> float:
    """Inches that the brackets and the clusters' names take."""
    if len(grouping.spans) < 2:
        return 0.14
    return 0.3 + style.text_width([cluster for cluster, _, _ in grouping.spans], SMALL)


def colour_bar(figure: Figure, image: Any, box: tuple[float, float, float, float], label: str, values: Floats) -> None:
    """A horizontal bar at ``(left, bottom, width, height)`` in inches, its label after it."""
    low, high = image.get_clim()
    bar_axes = style.place(figure, *box)
    ends = pointed(values, low, high)
    bar = figure.colorbar(image, cax=bar_axes, orientation="horizontal", extend=ends, extendfrac=0.06)
    bar.outline.set_visible(False)
    bar.set_ticks(np.linspace(low, high, 6 if low >= 0 else 5).tolist())
    bar.ax.xaxis.set_major_formatter("{x:.4g}")
    bar.ax.tick_params(length=2, labelsize=7)
    beyond = {"neither": "", "min": f" (pointed end: below {low:g})", "max": f" (pointed end: above {high:g})"}
    words = beyond.get(ends, " (pointed ends: beyond the range)")
    style.write(
        figure,
        box[0] + box[2] + 0.15,
        box[1] + box[3] / 2,
        label + words,
        fontsize=7.5,
        va="center",
        color=style.MUTED,
    )


def undefined_note(figure: Figure, left: float, bottom: float, values: Floats, reasons: Sequence[str]) -> None:
    """Say under the picture how many cells are undefined, and why; nothing where none is."""
    missing = int(np.isnan(values).sum())
    if not missing:
        return
    why = "; ".join(dict.fromkeys(reason for reason in reasons if reason))
    text = f"hatched: {count(missing, 'cell')} undefined" + (f" ({clean(why, 70)})" if why else "")
    style.write(figure, left, bottom, text, fontsize=7.5, color=style.MUTED, va="center")
