"""How a model answers, beside how its layers see: numbers of one step, per task and as a mean over tasks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_layerscope.functional.cluster_intervals import mean_intervals
from lightning_layerscope.functional.interval import Interval
from lightning_layerscope.functional.row_intervals import over_rows
from lightning_layerscope.json_files import finite_or_none

MEAN = ""
"""In the place of a task: the mean over tasks."""

ANSWERS, RETENTION = "answers", "retention"
"""The groups of tasks: those that are probed, and those that must not be lost."""

LOSS, KL, CHANGE = "loss", "kl", "loss_change"
"""Nats per answer token; nats at the token behind the prompt; rise of the loss since the beginning of the run."""

RANKS = "states/effective_rank"
"""Effective rank of a task's states, per layer."""

Rows = dict[str, NDArray[Any]]
"""``<group>/<quantity>/<task>`` to values, the first axis being the task's prompts (or layers)."""


@dataclass
class Behaviour:
    """What was measured of a model's answers at one step; empty where nothing was asked for.

    Attributes:
        rows: ``<group>/<quantity>/<task>`` to ``(prompts,)``; ``states/effective_rank/<task>`` to ``(layers,)``.
        scores: ``<group>/<quantity>`` to task to value and interval; the mean over tasks is under ``""``.
        baseline: What later measurements are compared with; of a run's first measurement alone.
    """

    rows: Rows = field(default_factory=dict)
    scores: dict[str, dict[str, Interval]] = field(default_factory=dict)
    baseline: Rows = field(default_factory=dict)

    def of_tasks(self, signal: str) -> Rows:
        """Task to the values of its prompts."""
        return of_tasks(self.rows, signal)


def of_tasks(rows: Mapping[str, NDArray[Any]], signal: str) -> Rows:
    """Of flat rows those of one signal, task to values."""
    return {key.removeprefix(f"{signal}/"): each for key, each in rows.items() if key.startswith(f"{signal}/")}


def score(
    rows: Mapping[str, NDArray[Any]], clusters: Mapping[str, str], confidence: float = 0.9
) -> dict[str, Interval]:
    """Value of each task with its interval over prompts, and the mean over tasks with its interval over tasks.

    Args:
        rows: Task to ``(prompts,)``.
        clusters: The cluster of the tasks.
        confidence: Nominal coverage of all intervals.
    """
    intervals = {task: row_interval(each, confidence) for task, each in rows.items()}
    means = np.array([[each.value] for each in intervals.values()])
    over = mean_intervals(means, [clusters[task] for task in intervals], confidence=confidence)
    return {MEAN: Interval(float(over.mean[0]), float(over.low[0]), float(over.high[0])), **intervals}


def row_interval(values: NDArray[Any], confidence: float) -> Interval:
    """Mean over prompts with its interval; without ends for a single prompt."""
    if len(values) < 2:
        return Interval(float(values.mean()), math.nan, math.nan)
    return over_rows([np.asarray(values, dtype=np.float64)], confidence)


def scores_to_json(scores: Mapping[str, Mapping[str, Interval]]) -> dict[str, dict[str, list[float | None]]]:
    """Plain values; what is not finite becomes null."""
    return {
        signal: {task: [finite_or_none(each) for each in (one.value, one.low, one.high)] for task, one in tasks.items()}
        for signal, tasks in scores.items()
    }


def scores_from_json(stored: Mapping[str, Mapping[str, Iterable[float | None]]]) -> dict[str, dict[str, Interval]]:
    """The inverse; null becomes NaN."""
    return {
        signal: {
            task: Interval(*(math.nan if each is None else float(each) for each in three))
            for task, three in tasks.items()
        }
        for signal, tasks in stored.items()
    }
