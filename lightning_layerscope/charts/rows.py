"""Rows behind the charts, as plain values: what a chart's named data sets hold, and what a page may put in their place.

Values that mathematics leaves undefined are ``None``, with a ``reason``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_layerscope.charts.words import Floats, clean, group, step_name

if TYPE_CHECKING:
    from lightning_layerscope.profiles import LayerProfile
    from lightning_layerscope.profiles.diff import ProfileDiff
    from lightning_layerscope.transitions import Transition

Row = dict[str, Any]
ALL_TASKS = "all tasks"


def task_cells(profile: LayerProfile, *, measure: str | None = None, step: int | None = None) -> list[Row]:
    """``task, cluster, layer, value, low, high, reason`` of every task and layer, tasks of a cluster side by side.

    Args:
        profile: Where the values are.
        measure: Which measure; the headline by default.
        step: Which measurement; the last by default.

    Raises:
        KeyError: If the profile has no such measure or step.
    """
    frame = profile.rows(measure, step)
    columns = {name: profile.matrix(measure, step, column=name) for name in ("value", "low", "high")}
    reasons = dict(zip(zip(frame["task"], frame["layer"], strict=True), frame["reason"], strict=True))
    return [
        {
            "task": task,
            "cluster": profile.clusters[task],
            "layer": layer,
            **{name: plain(matrix[row, column]) for name, matrix in columns.items()},
            "reason": reasons.get((task, layer), "not measured"),
        }
        for row, task in grouped(profile)
        for column, layer in enumerate(profile.layers)
    ]


def grouped(profile: LayerProfile) -> list[tuple[int, str]]:
    """Position and name of every task, those of a cluster side by side."""
    return [(row, profile.tasks[row]) for row in group(profile.tasks, profile.clusters).order]


def cluster_spans(tasks: Sequence[str], clusters: Mapping[str, str]) -> list[Row]:
    """``cluster, first, middle, last, tasks``: of every cluster, in the order of the rows; none for one."""
    grouping = group(tasks, clusters)
    if len(grouping.spans) < 2:
        return []
    names = [tasks[position] for position in grouping.order]
    return [
        {
            "cluster": cluster,
            "first": names[start],
            "middle": names[start + (size - 1) // 2],
            "last": names[start + size - 1],
            "tasks": size,
        }
        for cluster, start, size in grouping.spans
    ]


def step_cells(layers: Sequence[int], means: Mapping[int, Floats]) -> list[Row]:
    """``step, layer, value, reason``: the mean over tasks, measurement after measurement.

    Args:
        layers: Their numbers.
        means: Step -> ``(layers,)``.
    """
    return [
        {"step": step, "layer": layer, **_defined(value, "no task has a value there")}
        for step in sorted(means)
        for layer, value in zip(layers, means[step], strict=True)
    ]


def square_cells(matrix: Floats, names: Sequence[Any], what: str, reason: str = "undefined") -> list[Row]:
    """``{what}, other, value, reason`` of a square matrix of similarities.

    Args:
        matrix: ``(names, names)``.
        names: Of rows and columns.
        what: What they are: ``"layer"`` or ``"task"``.
        reason: Why a value may be undefined.
    """
    return [
        {what: row, "other": column, **_defined(value, reason)}
        for row, values in zip(names, np.asarray(matrix, dtype=np.float64), strict=True)
        for column, value in zip(names, values, strict=True)
    ]


def difference_cells(difference: ProfileDiff) -> list[Row]:
    """``task, cluster, layer, depth, value, low, high, first, second, reason``: the second profile minus the first."""
    names = ["value", "low", "high", "first", "second"]
    frame = difference.frame.rename(columns={"delta": "value"})
    numbers = {name: [plain(value) for value in frame[name].tolist()] for name in names}
    cells: list[Row] = frame[["task", "cluster", "layer", "depth", "reason"]].to_dict("records")
    for position, cell in enumerate(cells):
        cell.update({name: values[position] for name, values in numbers.items()}, depth=round(cell["depth"], 4))
    meta = difference.meta["first"]
    order = {meta.tasks[place]: row for row, place in enumerate(group(meta.tasks, meta.clusters).order)}
    return sorted(cells, key=lambda cell: (order[cell["task"]], cell["depth"]))


def mean_curves(
    profile: LayerProfile, series: Mapping[str, int], *, measure: str | None = None, confidence: float = 0.9
) -> list[Row]:
    """``series, step, layer, value, low, high, tasks``: the mean over tasks with its interval, per measurement.

    Args:
        profile: Where the values are.
        series: Name -> step.
        measure: Which measure; the headline by default.
        confidence: Of the interval over tasks.

    Raises:
        KeyError: If the profile has no such measure or step.
    """
    found = []
    for name, step in series.items():
        curve = profile.mean_curve(measure, step, confidence=confidence)
        bounds = {column: curve[column].to_numpy(dtype=np.float64) for column in ("value", "low", "high")}
        for position, (layer, tasks) in enumerate(zip(curve["layer"].tolist(), curve["tasks"].tolist(), strict=True)):
            numbers = {column: plain(values[position]) for column, values in bounds.items()}
            found.append({"series": name, "step": step, "layer": layer, **numbers, "tasks": tasks})
    return found


def cluster_curves(profile: LayerProfile, series: Mapping[str, int], *, measure: str | None = None) -> list[Row]:
    """``series, step, cluster, every, layer, value``: the mean over a cluster's tasks, per cluster and measurement.

    The last of each measurement is that over all tasks (``every`` is true). None where there is but one cluster.

    Raises:
        KeyError: If the profile has no such measure or step.
    """
    if len(set(profile.clusters.values())) < 2:
        return []
    found = []
    for name, step in series.items():
        every = profile.mean_curve(measure, step)["value"].to_numpy(dtype=np.float64)
        for cluster, curve in {**profile.cluster_curves(measure, step), ALL_TASKS: every}.items():
            place = {"series": name, "step": step, "cluster": cluster, "every": curve is every}
            cells = zip(profile.layers, curve, strict=True)
            found += [{**place, "layer": layer, "value": plain(value)} for layer, value in cells]
    return found


def parts(transition: Transition | None) -> list[Row]:
    """``part, kind, start, end``: the layers of each part, first to last; none where no transition was found."""
    if transition is None or not transition.found:
        return []
    named = {
        "shared": transition.shared,
        transition.kind: transition.transition,
        "refinement": transition.refinement,
    }
    return [
        {"part": name, "changes": name == transition.kind, "start": layers[0], "end": layers[-1]}
        for name, layers in named.items()
        if layers
    ]


def boundaries(transition: Transition | None) -> list[Row]:
    """``boundary, first, layer, low, high, confidence``: where the transition starts and ends, each with its interval.

    A transition starts before its first and ends behind its last layer, hence the halves.
    """
    if transition is None or transition.start is None or transition.end is None:
        return []
    found = (
        ("start", transition.start, transition.start_interval, -0.5),
        ("end", transition.end, transition.end_interval, 0.5),
    )
    return [
        {
            "boundary": f"{name} of the {transition.kind}",
            "first": name == "start",
            "layer": layer + shift,
            "low": interval[0] + shift,
            "high": interval[1] + shift,
            "confidence": f"{transition.confidence:.0%}",
        }
        for name, layer, interval, shift in found
        if interval is not None
    ]


def series_names(profile: LayerProfile, steps: Sequence[int], names: Sequence[str]) -> dict[str, int]:
    """Names of measurements with their steps in words, newest first; where no run took steps, the names alone."""
    named = [
        ", ".join(filter(None, (clean(name), step_name(profile, step))))
        for name, step in zip(names, steps, strict=True)
    ]
    return dict(reversed(list(zip(named, steps, strict=True))))


def plain(value: float) -> float | None:
    """A number as JSON knows it: six digits, ``None`` where undefined."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def reasons(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Why values are undefined, each reason once."""
    return list(dict.fromkeys(str(row["reason"]) for row in rows if row["value"] is None and row["reason"]))


def _defined(value: float, reason: str) -> dict[str, Any]:
    known = plain(value)
    return {"value": known, "reason": "" if known is not None else reason}
