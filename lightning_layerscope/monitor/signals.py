"""Signals beside the similarity with the reference: one curve over layers each, with its interval over tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_layerscope.extraction import HiddenStates
from lightning_layerscope.functional import effective_rank, linear_cka
from lightning_layerscope.functional.cluster_intervals import MIN_CLUSTERS, mean_intervals
from lightning_layerscope.functional.separability import scatter_ratio_from_moments
from lightning_layerscope.functional.uncertainty import jackknife_estimate
from lightning_layerscope.monitor.gradients import Gradients, conflict_curve
from lightning_layerscope.monitor.weights import WeightReference
from lightning_layerscope.options import Signals
from lightning_layerscope.profiles import LayerProfile

Floats = NDArray[np.float64]

_JACKKNIFE = 3  # parts at least, one of which is left out in turn


@dataclass(frozen=True)
class Moments:
    """What is left of a task's states for its distance from other tasks.

    Attributes:
        mean: ``(layers, width)`` float32.
        within: ``(layers,)``, summed squared distances of its examples from that mean.
        count: Of its examples.
    """

    mean: Tensor
    within: Tensor
    count: int


@dataclass(frozen=True)
class SignalValues:
    """What one rank measured.

    Attributes:
        by_task: Signal to task to ``(layers,)``.
        update: ``(layers,)`` relative update of the weights; None where it was not asked for.
        moments: Of each task, where separability was asked for.
        gradients: Of each task, ``(groups, layers, numbers)``, where conflict was asked for.
        warnings: What could not be measured, in words.
    """

    by_task: dict[str, dict[str, Floats]] = field(default_factory=dict)
    update: Floats | None = None
    moments: dict[str, Moments] = field(default_factory=dict)
    gradients: Gradients = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def measure_signals(
    signals: Signals, model: nn.Module, states: HiddenStates, estimator: str, weights: WeightReference | None = None
) -> SignalValues:
    """Measure what was asked for, from states that are at hand and from weights; no pass through the model.

    Args:
        signals: Which.
        model: Read only.
        states: The states of one rank's tasks.
        estimator: Estimator of the neighbours' similarity.
        weights: What an update is against; the adapters' factors by default.
    """
    by_task: dict[str, dict[str, Floats]] = {}
    if signals.neighbour_similarity:
        by_task["neighbour_similarity"] = {task: _neighbours(states, task, estimator) for task in states}
    if signals.effective_rank:
        by_task["effective_rank"] = {task: effective_rank(states[task].float()).cpu().numpy() for task in states}
    moments = {task: _moments(states[task]) for task in states} if signals.separability else {}
    if not (signals.update or signals.drift_per_update):
        return SignalValues(by_task, moments=moments)
    try:
        updates = (weights or WeightReference(None)).updates(model).numpy()
    except ValueError as error:
        return SignalValues(by_task, moments=moments, warnings=(f"update: {error}",))
    layers = [updates[layer - 1] if layer else math.nan for layer in states.layers]
    return SignalValues(by_task, np.array(layers, dtype=np.float64), moments)


def join_signals(parts: list[SignalValues]) -> SignalValues:
    """What one process would have measured, from the ranks' parts; the weights are the same on all."""
    by_task: dict[str, dict[str, Floats]] = {}
    moments: dict[str, Moments] = {}
    gradients: Gradients = {}
    for part in parts:
        for name, tasks in part.by_task.items():
            by_task.setdefault(name, {}).update(tasks)
        moments |= part.moments
        gradients |= part.gradients
    update = next((part.update for part in parts if part.update is not None), None)
    warnings = tuple(dict.fromkeys(line for part in parts for line in part.warnings))
    return SignalValues(by_task, update, moments, gradients, warnings)


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
        means = mean_intervals(rows, [profile.clusters[task] for task in profile.tasks])
        return np.stack([means.mean, means.low, means.high])

    curves = {name: over_tasks([tasks[task] for task in profile.tasks]) for name, tasks in values.by_task.items()}
    if values.update is not None:
        if signals.update:
            curves["update"] = np.tile(values.update, (3, 1))
        if signals.drift_per_update:
            known = np.where(values.update > 0, values.update, np.nan)
            curves["drift_per_update"] = over_tasks((1 - profile.matrix()) / known)
    if len(values.moments) > 1:
        curves["separability"] = _separability([values.moments[task] for task in profile.tasks], profile)
    if len(values.gradients) > 1:
        conflict = conflict_curve({task: values.gradients[task] for task in profile.tasks})
        columns = [layer - 1 for layer in profile.layers]
        curves["gradient_conflict"] = np.where(np.array(columns) < 0, np.nan, conflict[:, columns])
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


def _moments(states: Tensor) -> Moments:
    x = states.float()
    mean = x.mean(dim=1)
    return Moments(mean.cpu(), (x - mean.unsqueeze(1)).double().square().sum(dim=(1, 2)).cpu(), x.shape[1])


def _separability(moments: Sequence[Moments], profile: LayerProfile) -> Floats:
    """Scatter ratio with the interval of a jackknife over clusters, or over tasks where these are few."""
    samples = (
        torch.stack([each.mean for each in moments], dim=1),
        torch.stack([each.within for each in moments], dim=1).unsqueeze(-1),
        torch.tensor([each.count for each in moments]),
    )
    labels = [profile.clusters[task] for task in profile.tasks]
    number = {label: position for position, label in enumerate(dict.fromkeys(labels))}
    groups = torch.tensor([number[label] for label in labels]) if MIN_CLUSTERS <= len(number) < len(labels) else None
    if len(moments) < _JACKKNIFE:
        value = scatter_ratio_from_moments(*samples).numpy()
        return np.stack([value, np.full_like(value, np.nan), np.full_like(value, np.nan)])
    estimate = jackknife_estimate(scatter_ratio_from_moments, *samples, groups=groups)
    return torch.stack([estimate.value, estimate.low, estimate.high]).numpy()
