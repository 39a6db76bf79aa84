"""The paper's figures 2 to 7, of any study (Zhao, Ziser and Cohen, EMNLP 2024, arXiv 2410.20008).

Their rows stand in the named data set ``values``; figure 4's in ``points``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from lightning_layerscope.charts import theme
from lightning_layerscope.charts.rows import Row, plain
from lightning_layerscope.charts.shape import Words, finished
from lightning_layerscope.charts.words import Floats, axis_limits

MODELS = {"base": "base model", "multitask": "multi-task model", "tuned": "tuned model"}
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross")
"""Each for as many clusters as there are colours."""


def value_rows(
    values: Mapping[str, Floats], layers: Sequence[int], tasks: Sequence[str], clusters: Sequence[str]
) -> list[Row]:
    """``model, task, cluster, layer, value`` of all models.

    Args:
        values: role of a model to values of shape (tasks, layers).
        layers: their numbers.
        tasks: their names.
        clusters: the cluster of each task.
    """
    return [
        {"model": MODELS.get(role, role), "task": task, "cluster": cluster, "layer": layer, "value": plain(value)}
        for role, matrix in values.items()
        for task, cluster, row in zip(tasks, clusters, np.asarray(matrix, dtype=np.float64), strict=True)
        for layer, value in zip(layers, row, strict=True)
    ]


def boxes_per_layer(rows: Sequence[Row], words: Words) -> alt.LayerChart:
    """Figures 2 and 7: per layer, the distribution over tasks (quartiles and median), one box per model.

    Args:
        rows: from :func:`value_rows`; undefined values are left out.
        words: title and name of the value.
    """
    base = alt.Chart(alt.NamedData(name="values")).transform_filter("isValid(datum.value)")
    models = len({row["model"] for row in rows})
    each = max(7, min(18, 760 // max(1, models * len({row["layer"] for row in rows}))))
    boxes = base.mark_boxplot(size=each, outliers={"size": 9}).encode(
        _layer_bands(),
        _y(words, rows),
        _model(rows),
        xOffset=alt.XOffset("model:N", sort=None),
        tooltip=_tooltip(words),
    )
    chart = alt.layer(boxes).properties(width=alt.Step((each + 2) * models + 6, **{"for": "position"}), height=300)
    return finished(chart, {"values": rows}, words)


def curves_per_cluster(rows: Sequence[Row], words: Words) -> alt.FacetChart:
    """Figure 3: the mean over a cluster's tasks per layer, one panel per cluster, one line per model.

    Args:
        rows: from :func:`value_rows`.
        words: title and name of the value.
    """
    sizes = {name: len({row["task"] for row in rows if row["cluster"] == name}) for name in _names(rows, "cluster")}
    named = [{**row, "panel": f"{row['cluster']} ({sizes[row['cluster']]})"} for row in rows]
    tooltip = [
        alt.Tooltip("panel:N", title="cluster (tasks)"),
        alt.Tooltip("model:N"),
        alt.Tooltip("layer:Q"),
        alt.Tooltip("mean(value):Q", title=words.value, format=".4f"),
    ]
    y = _y(words, rows, "mean(value):Q")
    panel = alt.layer(
        alt.Chart().mark_line().encode(_layers(rows), y, _model(rows)),
        alt.Chart().mark_point(size=90, opacity=0).encode(_layers(rows), y, detail="model:N", tooltip=tooltip),
    ).properties(width=190, height=130)
    chart = panel.facet(
        facet=alt.Facet("panel:N", title=None), columns=min(4, len(sizes)), data=alt.NamedData(name="values")
    )
    return finished(chart, {"values": named}, words)


def task_maps(points: Sequence[Row], words: Words) -> alt.FacetChart:
    """Figure 4: prompts of all tasks in a plane, one panel per layer, coloured by cluster.

    Args:
        points: ``layer, x, y, cluster, task`` of each prompt.
        words: title, and how the plane was found.
    """
    legend = alt.Legend(orient="bottom", columns=6, symbolSize=60)
    shapes = [shape for shape in SHAPES for _ in theme.CATEGORY]
    panel = (
        alt.Chart()
        .mark_point(filled=True, size=16, opacity=0.8)
        .encode(
            alt.X("x:Q", axis=None, scale=alt.Scale(zero=False)),
            alt.Y("y:Q", axis=None, scale=alt.Scale(zero=False)),
            alt.Color("cluster:N", sort=None, title="cluster", legend=legend),
            alt.Shape("cluster:N", sort=None, title="cluster", legend=legend, scale=alt.Scale(range=shapes)),
            tooltip=[alt.Tooltip("task:N"), alt.Tooltip("cluster:N"), alt.Tooltip("layer:Q")],
        )
        .properties(width=250, height=230)
    )
    chart = panel.facet(
        facet=alt.Facet("panel:N", title=None, sort=[f"layer {layer}" for layer in _names(points, "layer")]),
        columns=3,
        data=alt.NamedData(name="points"),
    ).resolve_scale(x="independent", y="independent")
    named = [{**row, "panel": f"layer {row['layer']}"} for row in points]
    return finished(chart, {"points": named}, words)


def components_per_layer(rows: Sequence[Row], words: Words, *, limit: float) -> alt.LayerChart:
    """Figure 5: principal components for 99 % of the variance, mean over tasks.

    Args:
        rows: from :func:`value_rows`, of counts.
        words: title and name of the value.
        limit: the largest value that can occur: the smaller of width and examples - 1, mean over tasks.
    """
    base = alt.Chart(alt.NamedData(name="values"))
    y = alt.Y("mean(value):Q", title=words.value, scale=alt.Scale(domain=[0, limit * 1.05]))
    tooltip = [
        alt.Tooltip("model:N"),
        alt.Tooltip("layer:Q"),
        alt.Tooltip("mean(value):Q", title=words.value, format=".1f"),
    ]
    top = alt.Chart(alt.InlineData(values=[{}]))
    level = top.mark_rule(style="level").encode(y=alt.datum(limit))
    note = top.mark_text(style="note", align="left", baseline="bottom", dy=-2).encode(
        x=alt.value(4), y=alt.datum(limit), text=alt.value(f"at most {limit:.0f}")
    )
    x, model = _layers(rows), _model(rows)
    line = base.mark_line().encode(x, y, model)
    dots = base.mark_circle(size=36).encode(x, y, model, tooltip=tooltip)
    chart = alt.layer(level, note, line, dots).properties(width=620, height=260)
    return finished(chart, {"values": rows}, words)


def correlations_per_layer(rows: Sequence[Row], words: Words) -> alt.FacetChart:
    """Figure 6: correlation over tasks with each covariate; a point where p < .05.

    Args:
        rows: ``covariate, model, layer, value, p``, where ``p`` is adjusted for the number of tests.
        words: title and name of the value.
    """
    y = alt.Y("value:Q", title=words.value, scale=alt.Scale(domain=[-1, 1]))
    tooltip = [
        alt.Tooltip("covariate:N"),
        alt.Tooltip("model:N"),
        alt.Tooltip("layer:Q"),
        alt.Tooltip("value:Q", title=words.value, format=".3f"),
        alt.Tooltip("p:Q", title="p, adjusted", format=".4f"),
    ]
    x, model = _layers(rows), _model(rows)
    panel = alt.layer(
        alt.Chart().mark_rule(style="level").encode(y=alt.datum(0)),
        alt.Chart().mark_line().encode(x, y, model),
        alt.Chart().mark_point(size=90, opacity=0).encode(x, y, detail="model:N", tooltip=tooltip),
        alt.Chart().transform_filter("datum.p < 0.05").mark_circle(size=42).encode(x, y, model, tooltip=tooltip),
    ).properties(width=290, height=230)
    chart = panel.facet(
        facet=alt.Facet("covariate:N", title=None, sort=_names(rows, "covariate")),
        columns=3,
        data=alt.NamedData(name="values"),
    )
    return finished(chart, {"values": rows}, words)


def _names(rows: Sequence[Row], field: str) -> list[Any]:
    return list(dict.fromkeys(row[field] for row in rows))


def _model(rows: Sequence[Row], *, symbol: str = "stroke") -> alt.Color:
    """A model keeps its colour in all figures, also where it is alone."""
    shown = _names(rows, "model")
    others = [name for name in shown if name != MODELS["base"]]
    scale = alt.Scale(domain=[MODELS["base"], *others])
    legend = alt.Legend(orient="bottom", values=shown, symbolType=symbol, symbolSize=150, symbolOpacity=1)
    return alt.Color("model:N", title=None, scale=scale, legend=legend)


def _layer_bands() -> alt.X:
    return alt.X("layer:O", title="layer", axis=alt.Axis(labelAngle=0))


def _layers(rows: Sequence[Row]) -> alt.X:
    layers = [row["layer"] for row in rows] or [0]
    scale = alt.Scale(domain=[min(layers) - 0.5, max(layers) + 0.5], nice=False, zero=False)
    return alt.X("layer:Q", title="layer", scale=scale, axis=alt.Axis(tickMinStep=1, format="d", grid=False))


def _y(words: Words, rows: Sequence[Row], field: str = "value:Q") -> alt.Y:
    low, high = axis_limits("cka", [0.0, *(row["value"] for row in rows if row["value"] is not None)])
    return alt.Y(field, title=words.value, scale=alt.Scale(domain=[low, high], nice=False))


def _tooltip(words: Words) -> list[alt.Tooltip]:
    return [
        alt.Tooltip("model:N"),
        alt.Tooltip("layer:O"),
        alt.Tooltip("task:N"),
        alt.Tooltip("value:Q", title=words.value, format=".4f"),
    ]
