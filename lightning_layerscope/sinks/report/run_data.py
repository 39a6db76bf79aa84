"""One run as the page's script reads it: names as JSON, numbers as columns of a packer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lightning_layerscope.charts.words import group, limits, measure_name, step_name
from lightning_layerscope.sinks.report.packing import Packer, fine_unit

if TYPE_CHECKING:
    from lightning_layerscope.measurements import Measurement, RunRecord
    from lightning_layerscope.profiles import LayerProfile

Floats = NDArray[np.float64]
Measure = tuple[str, str]
"""Name and estimator."""

VALUE, BOUND = 1e-4, 1e-3
"""Units of values between -1 and 1 that have an interval, and of what has none: diagnostics, matrices, the ends."""


def run_data(name: str, record: RunRecord, packer: Packer) -> dict[str, Any]:
    """Everything the page shows of a run.

    Args:
        name: Of the run, as the page calls it.
        record: With at least one measurement.
        packer: Gets the numbers; the result names their columns.
    """
    measurements = record.measurements
    last = measurements[-1].profile
    order = list(group(last.tasks, last.clusters).order)
    tasks = [last.tasks[place] for place in order]
    return {
        "name": name,
        "steps": record.steps,
        "when": [step_name(each.profile, each.step) for each in measurements],
        "tasks": tasks,
        "clusters": [last.clusters[task] for task in tasks],
        "layers": last.layers,
        "depth": last.num_layers,
        "measures": _measures(measurements, tasks, packer),
        "cuts": [_cut(each) for each in measurements],
        "signals": _signals(measurements, packer),
        "scores": _scores(measurements, packer),
        "neighbours": _neighbours(measurements, packer),
        "between": _between(measurements, order, packer),
    }


def _measures(measurements: Sequence[Measurement], tasks: Sequence[str], packer: Packer) -> list[dict[str, Any]]:
    """Per measure its values ``(measurements, tasks, layers)``, their intervals, and why a value is undefined."""
    profiles = [each.profile for each in measurements]
    names = list(dict.fromkeys(pair for profile in profiles for pair in measures_of(profile)))
    headline = (profiles[-1].measure, profiles[-1].meta.estimator)
    names.sort(key=lambda pair: (pair != headline, pair[0] != headline[0]))  # the rest keeps its order
    reasons: dict[str, int] = {"": 0}
    cubes = [measure_cubes(profile, names, tasks, reasons) for profile in profiles]
    words = sorted(reasons, key=reasons.__getitem__)
    found = []
    for place, (name, estimator) in enumerate(names):
        values, low, high, why = (np.stack([cube[part, place] for cube in cubes]) for part in range(4))
        least, most = limits(name, values)
        bounded = bool(np.isfinite(low).any())
        fine, coarse = (VALUE, BOUND) if most <= 1.0 else (fine_unit(values, 4), fine_unit(values, 3))
        found.append(
            {
                "key": f"{name} {estimator}".strip(),
                "title": measure_name(name),
                "estimator": estimator,
                "range": [least, most],
                "value": packer.add(values, fine if bounded else coarse),
                "low": packer.add(low, coarse) if bounded else None,
                "high": packer.add(high, coarse) if bounded else None,
                "reason": packer.add(why, 1.0) if why.any() else None,
                "reasons": words,
            }
        )
    return found


def measures_of(profile: LayerProfile) -> list[Measure]:
    """Measures with their estimators, in the order of their rows."""
    known = profile.frame[["measure", "estimator"]].drop_duplicates()
    return list(known.itertuples(index=False, name=None))


def measure_cubes(
    profile: LayerProfile, measures: Sequence[Measure], tasks: Sequence[str], reasons: dict[str, int]
) -> Floats:
    """Value, low, high and number of the reason: ``(4, measures, tasks, layers)``.

    All of a measurement's rows are placed at once: to select them measure by measure takes far longer.

    Args:
        profile: Of one measurement.
        measures: In the wanted order.
        tasks: In the wanted order.
        reasons: To their number; new ones are added.
    """
    frame = profile.frame
    pairs = pd.MultiIndex.from_frame(frame[["measure", "estimator"]])
    measure = pd.MultiIndex.from_tuples(measures).get_indexer(pairs)
    task = pd.Index(list(tasks)).get_indexer(pd.Index(frame["task"]))
    layer = pd.Index(profile.layers).get_indexer(pd.Index(frame["layer"]))
    cube = np.full((4, len(measures), len(tasks), len(profile.layers)), np.nan)
    for part, column in enumerate(("value", "low", "high")):
        cube[part, measure, task, layer] = frame[column].to_numpy()
    cube[3] = reasons.setdefault("not measured", len(reasons)) if np.isnan(cube[0]).any() else 0
    for text in frame["reason"].unique():
        reasons.setdefault(text, len(reasons))
    cube[3, measure, task, layer] = frame["reason"].map(reasons).to_numpy()
    return cube


def _cut(measurement: Measurement) -> dict[str, Any]:
    cut, signals = measurement.transition, measurement.signals
    return {
        "found": cut.found,
        "kind": cut.kind,
        "parts": {
            part: [layers[0], layers[-1]]
            for part in ("shared", "transition", "refinement")
            if (layers := getattr(cut, part))
        },
        "start": cut.start_interval,
        "end": cut.end_interval,
        "confidence": cut.confidence,
        "text": " ".join(filter(None, (cut.describe(), signals.describe() if signals else ""))),
        "signals": [
            {"name": one.name, "start": one.start, "end": one.end, "start_interval": one.start_interval,
             "end_interval": one.end_interval, "reason": one.reason}
            for one in (signals.cuts if signals else ())
        ],
    }  # fmt: skip


def _signals(measurements: Sequence[Measurement], packer: Packer) -> list[dict[str, Any]]:
    """Curves over layers with their interval, ``(measurements, 3, layers)`` each."""
    names = list(dict.fromkeys(name for each in measurements for name in each.curves))
    nothing = np.full((3, len(measurements[-1].profile.layers)), np.nan)
    found = []
    for name in names:
        curves = np.stack([each.curves.get(name, nothing) for each in measurements])
        found.append({"name": name, "title": name.replace("_", " "), "curve": packer.add(curves, fine_unit(curves))})
    return found


def _scores(measurements: Sequence[Measurement], packer: Packer) -> list[dict[str, Any]]:
    """How the model answers: value, low and high, ``(measurements, 3, tasks)``; the first task is the mean over all."""
    found = []
    for name in dict.fromkeys(name for each in measurements for name in each.behaviour.scores):
        known = [each.behaviour.scores.get(name, {}) for each in measurements]
        tasks = list(dict.fromkeys(["", *(task for scores in known for task in scores)]))
        values = np.full((len(known), 3, len(tasks)), np.nan)
        for row, scores in enumerate(known):
            for task, score in scores.items():
                values[row, :, tasks.index(task)] = score.value, score.low, score.high
        title = name.replace("/", ", ").replace("_", " ")
        found.append({"name": name, "title": title, "tasks": tasks, "score": packer.add(values, fine_unit(values))})
    return found


def _neighbours(measurements: Sequence[Measurement], packer: Packer) -> int | None:
    """Upper triangles of layer x layer; ``None`` where no measurement has it."""
    size = len(measurements[-1].profile.layers)
    matrices = [each.layer_x_layer for each in measurements]
    return packer.add(_triangles(matrices, size), BOUND) if any(each is not None for each in matrices) else None


def _between(measurements: Sequence[Measurement], order: Sequence[int], packer: Packer) -> dict[str, dict[str, Any]]:
    """Layer to the column of the upper triangles of task x task, and which measurements have it."""
    found = {}
    for layer in sorted({layer for each in measurements for layer in each.task_x_task}):
        matrices = [each.task_x_task.get(layer) for each in measurements]
        ordered = [None if one is None else np.asarray(one)[np.ix_(order, order)] for one in matrices]
        found[str(layer)] = {
            "matrix": packer.add(_triangles(ordered, len(order)), BOUND),
            "at": [place for place, one in enumerate(matrices) if one is not None],
        }
    return found


def _triangles(matrices: Sequence[Floats | None], size: int) -> Floats:
    above = np.triu_indices(size)
    return np.stack([np.full(len(above[0]), np.nan) if one is None else np.asarray(one)[above] for one in matrices])
