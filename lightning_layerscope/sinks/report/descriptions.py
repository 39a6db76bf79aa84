"""The page's charts as descriptions with blanks, which its script fills with names, limits and rows."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from lightning_layerscope import charts
from lightning_layerscope.charts import theme

VALUE = "<value>"
"""Stands for the name of what is shown."""

LIMITS = (-1e9, 1e9)
"""Stand for the ends of its axis or colours."""

DOMAIN = (-2e9, 2e9)
"""Stand for the first and the last step."""

COLOURS = (
    (68, 1, 84), (72, 40, 120), (62, 74, 137), (49, 104, 142), (38, 130, 142),
    (31, 158, 137), (53, 183, 121), (109, 205, 89), (180, 222, 44), (253, 231, 37),
)  # fmt: skip
"""Stops of viridis, the scheme of the heatmaps, for what the page colours without Vega."""


def blanks() -> dict[str, Any]:
    """What stands for what, for the script."""
    return {"value": VALUE, "limits": LIMITS, "domain": DOMAIN}


def looks() -> dict[str, Any]:
    """The charts' colours and letters by name of the look."""
    return {"light": theme.config(), "dark": theme.config(dark=True)}


@lru_cache(maxsize=16)
def descriptions(layers: tuple[int, ...], tasks: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Kind of picture to its description, for runs with these layers and tasks.

    A description depends on how many layers and tasks there are, not on values: rows, names of values and limits come
    from the page.
    """
    cell = {"value": 0.5, "reason": ""}
    task_cells = [
        {"task": task, "cluster": "", "layer": layer, **cell, "low": 0.0, "high": 1.0}
        for task, layer in zip(
            [*tasks, *[tasks[-1]] * len(layers)][: max(len(tasks), len(layers))],
            [*layers, *[layers[-1]] * len(tasks)][: max(len(tasks), len(layers))],
            strict=True,
        )
    ]
    squares = {
        what: [{what: name, "other": name, **cell} for name in names]
        for what, names in (("layer", list(layers)), ("task", list(tasks)))
    }
    pairs = {
        "cells": (task_cells, charts.LAYERS, charts.TASKS),
        "steps": ([{"step": 0, "layer": layer, **cell} for layer in layers], charts.STEPS, charts.LAYERS_UP),
        "layers": (squares["layer"], charts.Axis("other", "layer"), charts.LAYERS_UP),
        "tasks": (squares["task"], charts.Axis("other", names=True), charts.TASKS),
    }
    bracket = [{"cluster": "", "first": tasks[0], "middle": tasks[0], "last": tasks[0], "tasks": 1}]
    part = [{"part": "", "changes": True, "start": layers[0], "end": layers[0]}]
    found: dict[str, dict[str, Any]] = {}
    for kind, (cells, x, y) in pairs.items():
        for name, diverging in ((kind, kind == "tasks"), (f"{kind}-difference", True)):
            marks = {"brackets": bracket if y.names else [], "parts": part if kind == "cells" else []}
            chart = charts.heatmap(cells, x, y, charts.Words(value=VALUE), limits=LIMITS, diverging=diverging, **marks)
            found[name] = _bare(charts.spec(chart))
    return {**found, **_curves(layers)}


def _curves(layers: Sequence[int]) -> dict[str, dict[str, Any]]:
    rows = [
        {"series": "", "step": 0, "layer": layer, "value": 0.5, "low": 0.0, "high": 1.0, "tasks": 1} for layer in layers
    ]
    clusters = [
        {"series": "", "step": 0, "cluster": "", "every": False, "layer": layer, "value": 0.5} for layer in layers
    ]
    words = charts.Words(value=VALUE)
    part = [{"part": "", "changes": True, "start": layers[0], "end": layers[0]}]
    boundary = [{"boundary": "", "first": True, "layer": 0.5, "low": 0.5, "high": 0.5, "confidence": ""}]
    both = _bare(
        charts.spec(charts.curves(rows, words, limits=LIMITS, parts=part, boundaries=boundary, clusters=clusters))
    )
    curve, panels = both["vconcat"]
    shared = {key: value for key, value in both.items() if key not in ("vconcat", "spacing", "resolve")}
    over_steps = copy.deepcopy(curve)
    _speak_of_steps(over_steps)
    return {
        "curve": {**shared, **curve},
        "difference": {**shared, **copy.deepcopy(curve)},
        "clusters": {**shared, **panels},
        "over-steps": {**shared, **over_steps},
    }


def _bare(description: dict[str, Any]) -> dict[str, Any]:
    """Without rows and look, which the page has once for all, and without the address of Vega-Lite's schema."""
    return {key: value for key, value in description.items() if key not in ("datasets", "config", "$schema")}


def _speak_of_steps(description: Any) -> None:
    """Turn a curve over layers into one over steps: the field keeps its name, what people read changes."""
    if isinstance(description, list):
        for part in description:
            _speak_of_steps(part)
    elif isinstance(description, dict):
        if description.get("field") == "layer":
            description["title"] = "training step"
            if "scale" in description:
                description["scale"]["domain"] = DOMAIN
        for part in description.values():
            _speak_of_steps(part)
