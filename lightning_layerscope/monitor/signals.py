"""Signals beside the similarity with the reference: one curve over layers each, with its interval over tasks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lightning_layerscope.comparison.weight_updates import adapter_updates
from lightning_layerscope.extraction import HiddenStates
from lightning_layerscope.functional import effective_rank, linear_cka
from lightning_layerscope.functional.cluster_intervals import mean_intervals
from lightning_layerscope.monitor.adapters import has_adapters
from lightning_layerscope.options import Signals
from lightning_layerscope.profiles import LayerProfile

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SignalValues:
    """What one rank measured.

    Attributes:
        by_task: Signal to task to ``(layers,)``.
        update: ``(layers,)`` relative update of the weights; None where it was not asked for.
        warnings: What could not be measured, in words.
    """

    by_task: dict[str, dict[str, Floats]] = field(default_factory=dict)
    update: Floats | None = None
    warnings: tuple[str, ...] = ()


def measure_signals(signals: Signals, model: nn.Module, states: HiddenStates, estimator: str) -> SignalValues:
    """Measure what was asked for, from states that are at hand and from weights; no pass through the model.

    Args:
        signals: Which.
        model: Read only.
        states: The states of one rank's tasks.
        estimator: Estimator of the neighbours' similarity.
    """
    by_task: dict[str, dict[str, Floats]] = {}
    if signals.neighbour_similarity:
        by_task["neighbour_similarity"] = {task: _neighbours(states, task, estimator) for task in states}
    if signals.effective_rank:
        by_task["effective_rank"] = {task: effective_rank(states[task].float()).cpu().numpy() for task in states}
    if not (signals.update or signals.drift_per_update):
        return SignalValues(by_task)
    if not has_adapters(model):
        return SignalValues(by_task, None, ("update: the model has no LoRA adapters, whose factors it is read from",))
    try:
        updates = adapter_updates(model).numpy()
    except ValueError as error:
        return SignalValues(by_task, None, (f"update: {error}",))
    layers = [updates[layer - 1] if layer else math.nan for layer in states.layers]
    return SignalValues(by_task, np.array(layers, dtype=np.float64))


def join_signals(parts: list[SignalValues]) -> SignalValues:
    """What one process would have measured, from the ranks' parts; the weights are the same on all."""
    by_task: dict[str, dict[str, Floats]] = {}
    for part in parts:
        for name, tasks in part.by_task.items():
            by_task.setdefault(name, {}).update(tasks)
    update = next((part.update for part in parts if part.update is not None), None)
    return SignalValues(by_task, update, tuple(dict.fromkeys(line for part in parts for line in part.warnings)))


def signal_curves(signals: Signals, values: SignalValues, profile: LayerProfile) -> dict[str, Floats]:
    """One curve per signal: ``(3, layers)``, value and interval.

    The mean over tasks has the interval of :func:`~lightning_layerscope.functional.cluster_intervals.mean_intervals`.
    An update is no estimate: its interval is the value itself.

    Args:
        signals: Which were asked for.
        values: The values of all tasks.
        profile: The profile of the same step; its headline is the drift.
    """

    def over_tasks(rows: Any) -> Floats:
        found = mean_intervals(rows, [profile.clusters[task] for task in profile.tasks])
        return np.stack([found.mean, found.low, found.high])

    curves = {name: over_tasks([tasks[task] for task in profile.tasks]) for name, tasks in values.by_task.items()}
    if values.update is not None:
        if signals.update:
            curves["update"] = np.tile(values.update, (3, 1))
        if signals.drift_per_update:
            known = np.where(values.update > 0, values.update, np.nan)
            curves["drift_per_update"] = over_tasks((1 - profile.matrix()) / known)
    return curves


def _neighbours(states: HiddenStates, task: str, estimator: str) -> Floats:
    """CKA of each layer with the one before it; NaN where that one was not measured."""
    layers = states.layers
    values = np.full(len(layers), np.nan)
    here = [position for position in range(1, len(layers)) if layers[position] == layers[position - 1] + 1]
    if here:
        x = states[task].float()
        before, after = x[[position - 1 for position in here]], x[torch.tensor(here)]
        values[here] = linear_cka(before, after, estimator).cpu().numpy()
    return values
