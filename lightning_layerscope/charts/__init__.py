"""Every chart described once, in Vega-Lite, for trackers, papers, pages and notebooks; nothing is logged or shown here.

A chart is an ``altair`` chart: put it into a notebook cell, or hand it to

* ``png(chart, scale=1.0, dark=False) -> bytes`` and ``svg(chart, dark=False) -> str``, drawn without a browser;
* ``spec(chart, dark=False) -> dict``: plain Vega-Lite, for pages and trackers that draw it themselves;
* ``javascript() -> str``: Vega, Vega-Lite and Vega-Embed as one script, for a page without a network.

**What a page can rely on.** The rows of a chart stand under fixed names in ``spec["datasets"]``, so that
``view.data(name, rows)`` changes what it shows. ``charts.rows`` makes them, as lists of plain ``dict``; undefined
values are ``None`` with a ``reason``.

=============  ====================================================================  =================================
data set       columns                                                               from
=============  ====================================================================  =================================
cells          two of task, layer, step, depth, other; value, reason; of tasks       ``task_cells``, ``step_cells``,
               also cluster, low, high; of differences also first, second            ``square_cells``, and
                                                                                     ``difference_cells``
brackets       cluster, first, middle, last (tasks), tasks (how many)                ``cluster_spans``
parts          part, changes (whether it is the transition), start, end (layers)     ``parts``
curves         series, step, layer, value, low, high, tasks                          ``mean_curves``
clusters       series, step, cluster, every (over all tasks), layer, value           ``cluster_curves``
boundaries     boundary, first, layer, low, high, confidence                         ``boundaries``
values         model, task, cluster, layer, value (figures of a study)               ``charts.study.value_rows``
points         layer, x, y, cluster, task (maps of a study)                          ``study.results.draw``
=============  ====================================================================  =================================

``heatmap(cells, x, y, words, limits=...)`` and ``curves(rows, words, limits=...)`` make charts of such rows; with a
``Words()`` of no title a chart has none. Order of rows is order on the axes. A heatmap's width and height follow the
number of its columns and rows. No chart names a colour: ``charts.theme.config(dark=...)`` holds them all, and stands in
``spec["config"]``.

Nothing of altair is loaded by importing this package, ``charts.rows``, ``charts.words`` or ``charts.theme``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_layerscope.charts.cells import LAYERS, LAYERS_UP, STEPS, TASKS, Axis, heatmap
    from lightning_layerscope.charts.lines import curves
    from lightning_layerscope.charts.of_profile import (
        heatmap_difference,
        heatmap_layer_x_step,
        heatmap_layer_x_task,
        layer_curve,
    )
    from lightning_layerscope.charts.of_run import measurement_chart, profile_chart, run_chart
    from lightning_layerscope.charts.render import javascript, png, spec, svg
    from lightning_layerscope.charts.shape import Words
    from lightning_layerscope.charts.squares import heatmap_layer_x_layer, heatmap_task_x_task
    from lightning_layerscope.charts.terminal import show
    from lightning_layerscope.charts.words import chosen_steps

_HOMES = {
    "lines": ("curves",),
    "cells": ("LAYERS", "LAYERS_UP", "STEPS", "TASKS", "Axis", "heatmap"),
    "of_profile": ("heatmap_difference", "heatmap_layer_x_step", "heatmap_layer_x_task", "layer_curve"),
    "of_run": ("measurement_chart", "profile_chart", "run_chart"),
    "render": ("javascript", "png", "spec", "svg"),
    "shape": ("Words",),
    "squares": ("heatmap_layer_x_layer", "heatmap_task_x_task"),
    "terminal": ("show",),
    "words": ("chosen_steps",),
}

__all__ = [
    "LAYERS",
    "LAYERS_UP",
    "STEPS",
    "TASKS",
    "Axis",
    "Words",
    "chosen_steps",
    "curves",
    "heatmap",
    "heatmap_difference",
    "heatmap_layer_x_layer",
    "heatmap_layer_x_step",
    "heatmap_layer_x_task",
    "heatmap_task_x_task",
    "javascript",
    "layer_curve",
    "measurement_chart",
    "png",
    "profile_chart",
    "run_chart",
    "show",
    "spec",
    "svg",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
