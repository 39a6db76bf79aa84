"""A profile in a terminal: a heatmap in colour, and the curve over layers below it, column under column.

Colours are left to ``rich``, which knows what the terminal has; without any the digits in the cells remain.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console, Group
from rich.text import Text

from lightning_layerscope.charts.words import (
    Floats,
    axis_limits,
    clean,
    context,
    cut_line,
    group,
    limits,
    measure_name,
)
from lightning_layerscope.notebook import spread

if TYPE_CHECKING:
    from lightning_layerscope.profiles import LayerProfile
    from lightning_layerscope.transitions import Transition

_STOPS = ("440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725")
"""Of viridis, evenly spaced."""
_BLOCKS = " ▁▂▃▄▅▆▇█"
_HEIGHT, _LONGEST_NAME = 8, 28


def show(
    profile: LayerProfile,
    *,
    step: int | None = None,
    measure: str | None = None,
    transition: Transition | None = None,
    console: Console | None = None,
) -> None:
    """Print layer x task and the mean over tasks; in a notebook, show both as charts.

    Args:
        profile: Where the values are.
        step: Which measurement; the last by default.
        measure: Which measure; the headline by default.
        transition: Of that step: its parts are named.
        console: Where to print; standard output by default.

    Raises:
        KeyError: If the profile has no such measure or step.
    """
    console = console or Console()
    name = measure or profile.measure
    when = int(profile.rows(name, step)["step"].iloc[0])
    if console.is_jupyter:
        from IPython.display import display

        from lightning_layerscope.charts.of_profile import heatmap_layer_x_task, layer_curve

        display(layer_curve(profile, steps=[when], measure=name, transition=transition))
        display(heatmap_layer_x_task(profile, step=when, measure=name, transition=transition))
        return
    console.print(_both(profile, name, when, transition, console.width), highlight=False, soft_wrap=True)


def _both(profile: LayerProfile, name: str, step: int, transition: Transition | None, width: int) -> Group:
    grouping = group(profile.tasks, profile.clusters)
    longest = max(_LONGEST_NAME, width - 4 * len(profile.layers) - 2)
    names = _short([profile.tasks[place] for place in grouping.order], longest)
    values = profile.matrix(name, step)[list(grouping.order)]
    left = max(map(len, [*names, "layer"])) + 2
    count, room = len(profile.layers), max(2, width - left)
    cell = max(1, min(4, room // count))
    places = list(range(count)) if count * cell <= room else spread(count, room)
    span = limits(name, values)
    layers = _layer_numbers([profile.layers[place] for place in places], left, cell)
    left_out = [] if len(places) == count else [f"{len(places)} of {count} layers: more are wider than the terminal"]
    digits = [] if cell >= 4 and span == (0.0, 1.0) else [f"digits: tenths of the way from {span[0]:g} to {span[1]:g}"]
    lines = [
        Text(f"{measure_name(name)} per layer and task", style="bold"),
        *(
            Text(line, style="dim")
            for line in (context(profile, name, step), *cut_line(transition, whole=True), *digits, *left_out)
        ),
        Text(),
    ]
    for cluster, first, size in grouping.spans:
        if len(grouping.spans) > 1:
            lines.append(Text(cluster, style="bold dim"))
        for row in range(first, first + size):
            lines.append(Text(names[row].ljust(left)).append(_cells(values[row, places], span, cell)))
    lines += [layers, Text(), Text(f"mean over tasks: {measure_name(name)} over layers", style="bold")]
    mean = profile.mean_curve(name, step)["value"].to_numpy(dtype=np.float64)
    lines += [*_columns(mean[places], axis_limits(name, mean), left, cell), layers]
    return Group(*lines)


def _short(names: Sequence[str], limit: int) -> list[str]:
    """Names in the room there is; those that would be alike begin where they differ."""
    short = [clean(name, limit) for name in names]
    for alike in {each for each in short if short.count(each) > 1}:
        places = [place for place, each in enumerate(short) if each == alike]
        letters = zip(*(names[place] for place in places), strict=False)
        same = next((at for at, each in enumerate(letters) if len(set(each)) > 1), 0)
        for place in places:
            short[place] = clean("…" + names[place][max(0, same - 3) :], limit)
    return short


def _cells(values: Floats, span: tuple[float, float], width: int) -> Text:
    """Coloured cells; a digit says how many tenths of the colours' range, two where there is room for decimals."""
    text = Text()
    for value in values.tolist():
        if not np.isfinite(value):
            text.append(("/" * min(width, 2)).center(width), style="dim")
            continue
        share = min(1.0, max(0.0, (value - span[0]) / (span[1] - span[0])))
        decimals = width >= 4 and span == (0.0, 1.0)
        written = f"{value:.2f}".replace("0.", ".", 1)[:3] if decimals else str(min(9, int(10 * share)))
        ink = "#ffffff" if share < 0.55 else "#000000"
        text.append(written.center(width)[:width], style=f"{ink} on {_colour(share)}")
    return text


def _colour(share: float) -> str:
    at = share * (len(_STOPS) - 1)
    low, high = list(pairwise(_STOPS))[min(int(at), len(_STOPS) - 2)]
    part = at - min(int(at), len(_STOPS) - 2)
    mixed = [
        round(int(low[place : place + 2], 16) * (1 - part) + int(high[place : place + 2], 16) * part)
        for place in (0, 2, 4)
    ]
    return f"rgb({mixed[0]},{mixed[1]},{mixed[2]})"


def _columns(values: Floats, span: tuple[float, float], left: int, cell: int) -> list[Text]:
    """One column of blocks per layer, in eighths of a line; an undefined value has a dot on the ground."""
    low, high = span
    if np.isfinite(values).any() and np.nanmax(values) <= 1 < high:  # blocks need no room above the highest line
        high = 1.0
    eighths = [round(8 * _HEIGHT * (value - low) / (high - low)) if np.isfinite(value) else -1 for value in values]
    lines = []
    for line in reversed(range(_HEIGHT)):
        label = {_HEIGHT - 1: f"{high:.3g}", 0: f"{low:.3g}"}.get(line, "")
        text = Text(label.rjust(left - 2) + "│ ", style="dim")
        for value in eighths:
            block = "·" if value < 0 and line == 0 else _BLOCKS[min(8, max(0, value - 8 * line))]
            text.append((block * max(1, cell - 1)).ljust(cell), style="cyan")
        lines.append(text)
    return lines


def _layer_numbers(layers: Sequence[int], left: int, cell: int) -> Text:
    """The layers' numbers under their columns, as many as fit."""
    line = list(" " * (len(layers) * cell + 4))
    free = 0
    for place, layer in enumerate(layers):
        start = place * cell + max(0, (cell - len(str(layer))) // 2)
        if start >= free:
            line[start : start + len(str(layer))] = str(layer)
            free = start + len(str(layer)) + 1
    return Text("layer".ljust(left) + "".join(line).rstrip(), style="dim")
