"""From measurements to flat rows of numbers: what every logger can take."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_layerscope.functional.cluster_intervals import defined_mean
from lightning_layerscope.json_files import finite_or_none
from lightning_layerscope.sinks.keys import (
    ALL,
    BOUNDARIES,
    ROOT,
    SECONDS,
    SHARE_OF_RUN,
    STEP,
    KeyPlan,
    cluster_key,
    layer_key,
    mean_key,
    score_keys,
    task_key,
    under,
)

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from lightning_layerscope.measurements import Measurement
    from lightning_layerscope.profiles import LayerProfile
    from lightning_layerscope.transitions import Transition

MOST_ROWS = 10_000
CHART_COLUMNS = ("layer", "depth", "line", "value", "low", "high")
"""Of a chart over layers; ``depth`` is layer / number of layers, for models of different depth."""
TABLE_COLUMNS = ("step", "layer", "task", "cluster", "measure", "value", "low", "high")


def measurement_row(measurement: Measurement, plan: KeyPlan) -> dict[str, float]:
    """The scalars of one measurement. Undefined values have no entry: a chart shows a gap, the files their reason."""
    profile, name = measurement.profile, plan.measure
    row: dict[str, float] = {STEP: measurement.step}
    row |= _over_layers(name, profile.layers, measurement.task_mean)
    if plan.cluster_means:
        curves = measurement.cluster_means
        for cluster, mean in zip(curves, defined_mean(list(curves.values()), axis=1), strict=True):
            row[cluster_key(name, plan.clusters[cluster])] = float(mean)
    row.update(boundaries(measurement.transition))
    row[SECONDS], row[SHARE_OF_RUN] = float(measurement.seconds), float(measurement.overhead)
    if plan.tasks:
        for task, values in zip(profile.tasks, measurement.values, strict=True):
            for layer, value in zip(profile.layers, values, strict=True):
                row[task_key(name, plan.tasks[task], layer)] = float(value)
    for signal in plan.signals:
        values = measurement.curves.get(signal, np.full((3, len(profile.layers)), np.nan))[0]
        row |= _over_layers(signal, profile.layers, values)
    row |= _scores(measurement, plan)
    return {under(plan.root, key): value for key, value in row.items() if math.isfinite(value)}


def _over_layers(measure: str, layers: list[int], values: NDArray[np.float64]) -> dict[str, float]:
    row = {layer_key(measure, layer): float(value) for layer, value in zip(layers, values, strict=True)}
    return {mean_key(measure): float(defined_mean(values)), **row}


def _scores(measurement: Measurement, plan: KeyPlan) -> dict[str, float]:
    """How the model answers, as far as the run has keys for it."""
    row: dict[str, float] = {}
    for signal, tasks in measurement.behaviour.scores.items():
        for task, interval in tasks.items():
            name = plan.scores.get(signal, {}).get(task, "") if task else ""
            if signal in plan.scores and bool(task) == bool(name):
                row |= dict(zip(score_keys(signal, name), (interval.value, interval.low, interval.high), strict=False))
    return row


def boundaries(transition: Transition) -> dict[str, float]:
    """First and last layer of the transition with their intervals; empty where none was found."""
    if not transition.found or transition.start is None or transition.end is None:
        return {}
    starts = (transition.start, *(transition.start_interval or (math.nan, math.nan)))
    ends = (transition.end, *(transition.end_interval or (math.nan, math.nan)))
    return {key: value for key, value in zip(BOUNDARIES, (*starts, *ends), strict=True) if math.isfinite(value)}


def profile_lines(measurement: Measurement, plan: KeyPlan) -> dict[str, tuple[list[int], list[float]]]:
    """The lines of a profile over the layers: the mean over tasks with its interval, and the clusters.

    Args:
        measurement: What to show.
        plan: Of the run's keys.

    Returns:
        Name of the line -> the layers at which it is defined, and its values there.
    """
    mean, layers = measurement.mean, measurement.profile.layers
    curves = dict(zip(ALL, (mean.mean, mean.low, mean.high), strict=True))
    for cluster, values in measurement.cluster_means.items():
        curves[plan.clusters[cluster]] = values
    lines = {}
    for name, values in curves.items():
        points = [(layer, float(value)) for layer, value in zip(layers, values, strict=True)]
        defined = [(layer, value) for layer, value in points if math.isfinite(value)]
        lines[name] = ([layer for layer, _ in defined], [value for _, value in defined])
    return lines


def profile_rows(measurement: Measurement, line: str) -> list[list[Any]]:
    """The mean over tasks of one measurement as rows of ``CHART_COLUMNS``; undefined layers have none.

    Args:
        measurement: What to show.
        line: Name of the line.
    """
    mean = measurement.mean
    return _chart_rows(measurement, line, mean.mean, mean.low, mean.high)


def cluster_rows(measurement: Measurement, plan: KeyPlan) -> list[list[Any]]:
    """The mean over all tasks and that of each cluster as rows of ``CHART_COLUMNS``; clusters have no interval."""
    rows = profile_rows(measurement, "all")
    for cluster, values in measurement.cluster_means.items():
        unknown = np.full(len(values), np.nan)
        rows += _chart_rows(measurement, plan.clusters[cluster], values, unknown, unknown)
    return rows


def _chart_rows(measurement: Measurement, line: str, *columns: NDArray[np.float64]) -> list[list[Any]]:
    profile = measurement.profile
    return [
        [layer, layer / profile.num_layers, line, *map(finite_or_none, numbers)]
        for layer, *numbers in zip(profile.layers, *columns, strict=True)
        if math.isfinite(numbers[0])
    ]


def summary(measurement: Measurement, measurements: int, plan: KeyPlan) -> dict[str, Any]:
    """What a run comes down to; ``None`` where there is no transition or no defined value."""
    mean = measurement.task_mean
    defined = mean[np.isfinite(mean)]
    is_cut = measurement.transition.found
    values = {
        BOUNDARIES[0]: measurement.transition.start if is_cut else None,
        BOUNDARIES[3]: measurement.transition.end if is_cut else None,
        f"{ROOT}/transition/signals": measurement.signals.describe() if measurement.signals else None,
        f"{ROOT}/final/mean": float(defined.mean()) if defined.size else None,
        f"{ROOT}/final/min": float(defined.min()) if defined.size else None,
        f"{ROOT}/measurements": measurements,
    }
    return {under(plan.root, key): value for key, value in values.items()}


def table_rows(profile: LayerProfile, most: int = MOST_ROWS) -> tuple[pd.DataFrame, int]:
    """The rows for a table of at most ``most``, and how many were left out of it.

    Whole measurements of one measure at a time: of the headline the last, the first, then from new to old; after it the
    other measures of the last measurement. Where not even one fits, every k-th layer of it.
    """
    import pandas as pd

    frame = profile.frame
    steps = profile.steps
    order = list(dict.fromkeys([steps[-1], steps[0], *reversed(steps)])) if steps else []
    wanted = [(step, profile.measure) for step in order]
    wanted += [(order[0], name) for name in profile.measures if name != profile.measure and order]
    parts: list[pd.DataFrame] = []
    room = most
    for step, measure in wanted:
        part = frame[(frame["step"] == step) & (frame["measure"] == measure)]
        if not parts and len(part) > room:
            stride = -(-len(part) // room)
            part = part[part["layer"].isin(profile.layers[::-1][::stride])]
            part = part.head(room)
        if len(part) <= room:
            parts.append(part)
            room -= len(part)
    kept = pd.concat(parts)[list(TABLE_COLUMNS)].sort_index() if parts else frame[list(TABLE_COLUMNS)]
    return kept, len(frame) - len(kept)
