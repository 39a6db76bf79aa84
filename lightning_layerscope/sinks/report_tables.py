"""The report's tables: one line per task, all values of the last measurement, and the configuration."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_layerscope.charts.words import group, limits
from lightning_layerscope.functional.cluster_intervals import defined_mean

if TYPE_CHECKING:
    from lightning_layerscope.measurements import RunRecord

PARTS = ("shared", "transition", "refinement")


def task_table(record: RunRecord) -> dict[str, Any]:
    """Per task: mean over layers, lowest value and its layer, mean over each part of the cut, change since the start.

    Returns:
        ``columns`` (names) and ``rows``: per cell ``text``, ``sort`` (a number or text) and, for the mean, ``share`` of
        the measure's range for a bar.
    """
    last, first = record.measurements[-1], record.measurements[0]
    profile = last.profile
    values = profile.matrix()
    change = values - first.profile.matrix() if len(record) > 1 else None
    low, high = limits(profile.measure, values)
    parts = [part for part in PARTS if getattr(last.transition, part)] if last.transition.found else []
    where = {part: [profile.layers.index(layer) for layer in getattr(last.transition, part)] for part in parts}
    columns = ["task", "cluster", "mean over layers", "lowest", "at layer", *parts]
    columns += [f"change since step {first.step:,}"] if change is not None else []
    rows = []
    for position in group(profile.tasks, profile.clusters).order:
        task, line = profile.tasks[position], values[position]
        mean = float(defined_mean(line))
        cells: list[dict[str, Any]] = [_text(task), _text(profile.clusters[task])]
        cells.append(
            {**_number(mean), "share": float(np.clip((mean - low) / (high - low), 0, 1)) if mean == mean else 0}
        )
        defined = bool(np.isfinite(line).any())
        cells.append(_number(float(np.nanmin(line)) if defined else np.nan))
        least = profile.layers[int(np.nanargmin(line))] if defined else None
        cells.append({"text": "" if least is None else str(least), "sort": -1 if least is None else least})
        cells += [_number(float(defined_mean(line[where[part]]))) for part in parts]
        if change is not None:
            cells.append(_number(float(defined_mean(change[position])), sign="+"))
        rows.append(cells)
    return {"columns": columns, "rows": rows}


def value_table(record: RunRecord) -> dict[str, Any]:
    """All values of the last measurement: one line per task, one column per layer; undefined ones with their reason."""
    profile = record.measurements[-1].profile
    known = profile.rows()
    reasons = dict(zip(zip(known["task"], known["layer"], strict=True), known["reason"], strict=True))
    values = profile.matrix()
    rows = []
    for position in group(profile.tasks, profile.clusters).order:
        task = profile.tasks[position]
        cells = [
            {"text": f"{value:.3f}", "why": ""}
            if np.isfinite(value)
            else {"text": "", "why": reasons.get((task, layer), "")}
            for layer, value in zip(profile.layers, values[position], strict=True)
        ]
        rows.append({"task": task, "cells": cells})
    return {"layers": profile.layers, "rows": rows}


def signal_table(record: RunRecord) -> dict[str, Any]:
    """The signals of the last measurement: one line per signal, one column per layer, the interval as small print."""
    last = record.measurements[-1]
    rows = []
    for name, (values, low, high) in last.curves.items():
        cells = [
            {"text": f"{value:.3g}" if np.isfinite(value) else "", "why": _bounds(a, b) if np.isfinite(value) else ""}
            for value, a, b in zip(values, low, high, strict=True)
        ]
        rows.append({"name": name.replace("_", " "), "cells": cells})
    return {"layers": last.profile.layers, "rows": rows}


def score_table(record: RunRecord) -> dict[str, Any]:
    """How the model answers: one line per signal and task, first and last measurement, the interval as small print."""
    shown = record.measurements[:1] + record.measurements[1:][-1:]
    rows = []
    for signal, tasks in record.measurements[-1].behaviour.scores.items():
        for task in tasks:
            cells = []
            for each in shown:
                found = each.behaviour.scores.get(signal, {}).get(task)
                known = found is not None and np.isfinite(found.value)
                cells.append(
                    {"text": f"{found.value:.3f}", "why": _bounds(found.low, found.high)}
                    if found is not None and known
                    else {"text": "", "why": ""}
                )
            rows.append({"name": signal.replace("/", ", ").replace("_", " "), "task": task, "cells": cells})
    return {"steps": [each.step for each in shown], "rows": rows}


def _bounds(low: float, high: float) -> str:
    return f"{low:.3g} to {high:.3g}" if low < high else ""


def configuration(record: RunRecord) -> tuple[list[tuple[str, str]], str]:
    """Short settings as pairs, and everything as JSON."""
    meta = record.measurements[-1].profile.meta.to_dict()
    left_out = ("tasks", "clusters", "warnings", "notes")
    values: dict[str, Any] = {key: value for key, value in meta.items() if key not in left_out}
    values.update({key: value for key, value in record.config.items() if key not in left_out})
    values["run id"] = record.run_id
    whole = {"config": record.config, "profile": meta, "rewound": record.rewound}
    short = [(key.replace("_", " "), _plain(value)) for key, value in values.items() if _plain(value)]
    return short, json.dumps(whole, indent=1, ensure_ascii=False, default=str)


def _plain(value: Any) -> str:
    """A setting in one line; what is longer stands in the JSON below."""
    if value is None or value == "" or value == [] or value == {}:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {part}" for key, part in value.items() if not isinstance(part, dict | list))
    if isinstance(value, list | tuple):
        numbers = all(isinstance(part, int) for part in value)
        if numbers and len(value) > 2 and list(value) == list(range(value[0], value[-1] + 1)):
            return f"{value[0]} to {value[-1]}"
        return ", ".join(str(part) for part in value)
    return str(value)


def _number(value: float, sign: str = "") -> dict[str, Any]:
    known = bool(np.isfinite(value))
    return {"text": f"{value:{sign}.3f}" if known else "undefined", "sort": round(value, 6) if known else -1e9}


def _text(value: str) -> dict[str, Any]:
    return {"text": value, "sort": value}
