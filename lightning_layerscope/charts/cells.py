"""Cells in colour: whatever stands in rows and columns, undefined cells among them, clusters and parts marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import altair as alt
import numpy as np

from lightning_layerscope.charts.rows import Row, reasons
from lightning_layerscope.charts.shape import Words, finished, text_lines
from lightning_layerscope.wording import count

SLASH = "M-1,1L1,-1"
"""What is drawn over an undefined cell."""

_SHORT = "length(datum.label) > 44 ? slice(datum.label, 0, 21) + '…' + slice(datum.label, -22) : datum.label"
_NUMBER = "format(datum.value, ',')"


@dataclass(frozen=True)
class Axis:
    """One side of a heatmap.

    Attributes:
        field: which column of the rows.
        title: what it is, with its unit; empty for names that speak for themselves.
        names: whether they are names, each written out, rather than numbers.
        upward: whether the first is at the bottom.
    """

    field: str
    title: str = ""
    names: bool = False
    upward: bool = False


SECOND = "other"
"""The column of a square's other side."""

LAYERS, LAYERS_UP = Axis("layer", "layer"), Axis("layer", "layer", upward=True)
STEPS, TASKS = Axis("step", "training step"), Axis("task", names=True)


def heatmap(
    cells: Sequence[Row],
    x: Axis,
    y: Axis,
    words: Words,
    *,
    limits: tuple[float, float],
    diverging: bool = False,
    brackets: Sequence[Row] = (),
    parts: Sequence[Row] = (),
) -> alt.LayerChart:
    """One coloured cell per row; its tooltip holds all that is known of it.

    Args:
        cells: what ``rows.task_cells``, ``step_cells`` or ``square_cells`` give: ``value``, which may be ``None``, with
            its ``reason``, and the columns of both axes. The order of the rows is that of the names.
        x: columns.
        y: rows.
        words: title and name of the value.
        limits: values of the first and the last colour; what lies beyond keeps the colour of the end.
        diverging: two colours that meet in the middle of the limits, for differences; else one scale from low to high.
        brackets: from ``rows.cluster_spans``, where the rows are tasks: brackets beside them.
        parts: from ``rows.parts``, where the columns are layers: lines above them.

    Returns:
        A chart of the named data sets ``cells``, ``brackets`` and ``parts``.
    """
    across, down = (alt.X(**_encoding(x)), alt.Y(**_encoding(y)))
    base = alt.Chart(alt.NamedData(name="cells"))
    colour = alt.Color(
        "value:Q",
        title=words.value,
        scale=alt.Scale(domain=list(limits), clamp=True, range="diverging" if diverging else "heatmap"),
        legend=alt.Legend(orient="bottom", direction="horizontal", tickCount=5),
    )
    tooltip = _tooltip(cells, x, y, words)
    undefined = base.transform_filter("!isValid(datum.value)")
    because = [*tooltip[:2], alt.Tooltip("reason:N", title="undefined because")]
    layers = [
        # Undefined cells are in it, too: the order of names is that of all rows.
        base.mark_rect(invalid="show", aria=False).encode(across, down, colour, tooltip=tooltip),
        undefined.mark_rect(style="undefined", aria=False).encode(across, down, tooltip=because),
        undefined.mark_point(shape=SLASH, size=50, style="slash", aria=False).encode(across, down, tooltip=because),
    ]
    if brackets:
        layers += _brackets(y, both=x.names)
    if parts:
        layers += _parts(x)
    datasets = {"cells": list(cells), "brackets": list(brackets), "parts": list(parts)}
    chart = alt.layer(*layers).properties(width=_size(cells, x, wide=x.field != SECOND), height=_size(cells, y))
    return finished(chart, datasets, replace(words, notes=[*words.notes, *missing_note(cells)]))


def missing_note(cells: Sequence[Row]) -> list[str]:
    """How many cells are undefined, and why; nothing where none is."""
    missing = sum(row["value"] is None for row in cells)
    why = text_lines("; ".join(reasons(cells)), 90)[:1]
    return [f"slashed: {count(missing, 'cell')} undefined" + (f" ({why[0]})" if why else "")] if missing else []


def _encoding(axis: Axis) -> dict[str, Any]:
    labels: dict[str, Any] = {"labelExpr": _NUMBER, "labelAngle": 0}
    if axis.names:
        labels = {"labelExpr": _SHORT, "labelOverlap": False, "ticks": False, "labelPadding": 4}
    return {
        "field": axis.field,
        "type": "nominal" if axis.names else "ordinal",
        "sort": "descending" if axis.upward else None,
        "axis": alt.Axis(title=axis.title or None, **labels),
    }


def _tooltip(cells: Sequence[Row], x: Axis, y: Axis, words: Words) -> list[alt.Tooltip]:
    known = cells[0].keys() if cells else {"value"}
    kinds = {
        "cluster": alt.Tooltip("cluster:N"),
        "value": alt.Tooltip("value:Q", title=words.value, format=".4f"),
        "low": alt.Tooltip("low:Q", title="interval from", format=".4f"),
        "high": alt.Tooltip("high:Q", title="to", format=".4f"),
        "first": alt.Tooltip("first:Q", format=".4f"),
        "second": alt.Tooltip("second:Q", format=".4f"),
    }
    axes = [alt.Tooltip(f"{axis.field}:N", title=_called(axis)) for axis in (y, x)]
    return [*axes, *(tooltip for name, tooltip in kinds.items() if name in known)]


def _called(axis: Axis) -> str:
    return "beside" if axis.field == SECOND else axis.title or axis.field


def _size(cells: Sequence[Row], axis: Axis, *, wide: bool = False) -> alt.Step:
    """Names have a line each, numbers share the room there is; in whole pixels, so that cells meet without a seam."""
    number = len({row[axis.field] for row in cells})
    if axis.names:
        return alt.Step(18 if number <= 24 else 14 if number <= 80 else 11)
    least, most, room = (6, 48, 880) if wide else (4, 30, 480)
    return alt.Step(2 * int(np.clip(room / max(number, 1), least, most) // 2))


def _brackets(y: Axis, *, both: bool) -> list[alt.Chart]:
    """Lines of the ground's colour between clusters, and beside each a bracket with its name."""
    base = alt.Chart(alt.NamedData(name="brackets"))
    axis = _encoding(y)
    del axis["field"]
    inner = base.transform_window(number="row_number()").transform_filter("datum.number > 1")
    beside = alt.value(alt.expr("width + 7"))
    lines = [
        inner.mark_rule(style="separator").encode(
            y=alt.Y("first", bandPosition=0, **axis), x=alt.value(0), x2=alt.value("width")
        )
    ]
    if both:
        lines.append(
            inner.mark_rule(style="separator").encode(
                x=alt.X("first", bandPosition=0, **axis), y=alt.value(0), y2=alt.value("height")
            )
        )
    ends = {"y": alt.Y("first", bandPosition=0.15, **axis), "y2": alt.Y2("last", bandPosition=0.85), "x": beside}
    tooltip = [alt.Tooltip("cluster:N"), alt.Tooltip("tasks:Q")]
    return [
        *lines,
        base.mark_rule(style="bracket").encode(**ends, tooltip=tooltip),
        base.mark_text(style="name").encode(
            y=alt.Y("middle", bandPosition=0.5, **axis),
            x=alt.value(alt.expr("width + 13")),
            text="cluster:N",
            tooltip=tooltip,
        ),
    ]


def _parts(x: Axis) -> list[alt.Chart]:
    """Lines above the cells: the transition in its colour, what lies before and behind it in grey."""
    axis = _encoding(x)
    del axis["field"]
    base = alt.Chart(alt.NamedData(name="parts"))
    tooltip = [
        alt.Tooltip("part:N"),
        alt.Tooltip("start:Q", title="from layer"),
        alt.Tooltip("end:Q", title="to layer"),
    ]
    ends = {"x": alt.X("start", bandPosition=0.06, **axis), "x2": alt.X2("end", bandPosition=0.94), "y": alt.value(-6)}
    return [
        base.transform_filter(f"{'' if changes else '!'}datum.changes")
        .mark_rule(style="cut" if changes else "rest")
        .encode(**ends, tooltip=tooltip)
        for changes in (False, True)
    ]
