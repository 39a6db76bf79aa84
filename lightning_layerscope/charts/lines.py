"""Curves over layers: means with their intervals, where the transition lies, and one small panel per measurement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from lightning_layerscope.charts import theme
from lightning_layerscope.charts.rows import Row
from lightning_layerscope.charts.shape import Words, finished

WIDTH, HEIGHT, SMALL, GAP = 700, 270, 150, 14
DOTTED = 12
"""With more layers than this a line has no dots."""


def curves(
    rows: Sequence[Row],
    words: Words,
    *,
    limits: tuple[float, float],
    parts: Sequence[Row] = (),
    boundaries: Sequence[Row] = (),
    clusters: Sequence[Row] = (),
) -> alt.LayerChart | alt.VConcatChart:
    """One line per ``series`` with its band, and below one small panel per ``series`` with a line per cluster.

    Args:
        rows: from ``rows.mean_curves``, or others of that form; the first series is drawn boldest.
        words: title and name of the value.
        limits: of the axis; a band beyond is cut.
        parts: from ``rows.parts``: the transition is tinted, parts that have the room are named.
        boundaries: from ``rows.boundaries``: the intervals of both ends of the transition.
        clusters: from ``rows.cluster_curves``: the small panels.

    Returns:
        A chart of the named data sets ``curves``, ``parts``, ``boundaries`` and ``clusters``.
    """
    layers = sorted({row["layer"] for row in rows})
    axes = _x(layers, WIDTH), _y(words.value, limits)
    marked = [*(_parts(len(layers)) if parts else []), *_lines(axes, words, dotted=len(layers) <= DOTTED)]
    main = alt.layer(*marked, *(_boundaries() if boundaries else [])).properties(width=WIDTH, height=HEIGHT)
    chart: alt.LayerChart | alt.VConcatChart = main
    if clusters:
        chart = alt.vconcat(main, _panels(clusters, layers, words, limits), spacing=18).resolve_scale(
            color="independent", strokeDash="independent"
        )
    datasets = {"curves": rows, "parts": parts, "boundaries": boundaries, "clusters": clusters}
    return finished(chart, datasets, words)


def _x(layers: list[Any], width: float) -> alt.X:
    domain = [layers[0] - 0.5, layers[-1] + 0.5] if layers else [0, 1]
    axis = alt.Axis(tickMinStep=1, format="d", grid=False, tickCount=int(max(2, min(width / 30, len(layers)))))
    return alt.X("layer:Q", title="layer", scale=alt.Scale(domain=domain, nice=False, zero=False), axis=axis)


def _y(title: str, limits: tuple[float, float]) -> alt.Y:
    return alt.Y("value:Q", title=title, scale=alt.Scale(domain=list(limits), nice=False, zero=False))


def _lines(axes: tuple[alt.X, alt.Y], words: Words, *, dotted: bool) -> list[alt.Chart]:
    x, y = axes
    base = alt.Chart(alt.NamedData(name="curves"))
    legend = alt.Legend(orient="right", symbolType="stroke", symbolOpacity=1)
    colour = alt.Color("series:O", sort=None, title=None, legend=legend)
    fill = alt.Fill("series:O", sort=None, legend=None)  # a scale of its own: one legend of lines, none of areas
    dash = alt.StrokeDash("series:O", sort=None, title=None, legend=legend, scale=alt.Scale(range=[*theme.DASHES]))
    tooltip = [
        alt.Tooltip("series:N", title="curve"),
        alt.Tooltip("layer:Q"),
        alt.Tooltip("value:Q", title=words.value, format=".4f"),
        alt.Tooltip("low:Q", title="interval from", format=".4f"),
        alt.Tooltip("high:Q", title="to", format=".4f"),
        alt.Tooltip("tasks:Q"),
    ]
    return [
        base.mark_area(style="band", clip=True).encode(x, alt.Y("low:Q"), alt.Y2("high"), fill),
        base.mark_line(clip=True).encode(x, y, colour, dash),
        # What the pointer meets: a line or a band is one mark, and would tell of its first layer wherever it is hit.
        base.mark_circle(size=28 if dotted else 120, opacity=1 if dotted else 0).encode(x, y, fill, tooltip=tooltip),
    ]


def _parts(layers: int) -> list[alt.Chart]:
    base = alt.Chart(alt.NamedData(name="parts")).transform_calculate(
        left="datum.start - 0.5", right="datum.end + 0.5", middle="(datum.start + datum.end) / 2"
    )
    tooltip = [
        alt.Tooltip("part:N"),
        alt.Tooltip("start:Q", title="from layer"),
        alt.Tooltip("end:Q", title="to layer"),
    ]
    room = f"length(datum.part) * 6.2 < (datum.right - datum.left) * {WIDTH / max(layers, 1):.4g}"
    return [
        base.transform_filter("datum.changes").mark_rect(style="part").encode(x="left:Q", x2="right", tooltip=tooltip),
        base.transform_filter(room)
        .mark_text(style="note", baseline="bottom")
        .encode(x="middle:Q", y=alt.value(-4), text="part:N", tooltip=tooltip),
    ]


def _boundaries() -> list[alt.Chart]:
    base = alt.Chart(alt.NamedData(name="boundaries"))
    tooltip = [
        alt.Tooltip("boundary:N"),
        alt.Tooltip("low:Q", title="interval from"),
        alt.Tooltip("high:Q", title="to"),
        alt.Tooltip("confidence:N"),
    ]
    edge = base.mark_rule(style="boundary", strokeWidth=1).encode(x="layer:Q", tooltip=tooltip)
    marks = [edge]
    for first, shift in ((True, 8), (False, 18)):
        one = base.transform_filter(f"datum.first == {str(first).lower()}")
        height = alt.value(HEIGHT - shift)
        marks.append(one.mark_rule(style="boundary").encode(x="low:Q", x2="high", y=height, tooltip=tooltip))
        marks += [
            one.mark_tick(style="boundary", size=8, thickness=2, orient="vertical").encode(x=f"{end}:Q", y=height)
            for end in ("low", "high")
        ]
    return marks


def _panels(clusters: Sequence[Row], layers: list[Any], words: Words, limits: tuple[float, float]) -> alt.FacetChart:
    """One panel per series; the lines of clusters differ in colour, then in dash."""
    series = list(dict.fromkeys(row["series"] for row in clusters))
    names = list(dict.fromkeys(row["cluster"] for row in clusters if not row["every"]))
    width = (WIDTH + 60 - GAP * (len(series) - 1)) / len(series)
    columns = max(1, int((WIDTH + 60) / (46 + 6 * max(map(len, names), default=1))))
    legend = alt.Legend(orient="bottom", columns=columns, direction="horizontal")
    dashes = [dash for dash in theme.DASHES for _ in theme.CATEGORY]
    x, y = _x(layers, width), _y(words.value.split(",")[0], limits)
    tooltip = [
        alt.Tooltip("cluster:N"),
        alt.Tooltip("series:N", title="curve"),
        alt.Tooltip("layer:Q"),
        alt.Tooltip("value:Q", title=words.value, format=".4f"),
    ]
    every = alt.Chart().transform_filter("datum.every").mark_line(style="all-tasks", clip=True).encode(x, y)
    colour = alt.Color("cluster:N", sort=None, title="clusters; thick line: all tasks", legend=legend)
    dash = alt.StrokeDash(
        "cluster:N", sort=None, title="clusters; thick line: all tasks", legend=legend, scale=alt.Scale(range=dashes)
    )
    each = alt.Chart().transform_filter("!datum.every").mark_line(strokeWidth=1.4, clip=True).encode(x, y, colour, dash)
    points = alt.Chart().mark_circle(size=90, opacity=0).encode(x, y, tooltip=tooltip)
    panel = alt.layer(every, each, points).properties(width=width, height=SMALL)
    return panel.facet(
        column=alt.Column("series:N", sort=series, title=None), data=alt.NamedData(name="clusters"), spacing=GAP
    )
