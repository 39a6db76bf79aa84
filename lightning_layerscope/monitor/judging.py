"""What a run's owner has to know: has something been lost, has a layer collapsed? However often one looks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lightning_layerscope.functional.cluster_intervals import mean_intervals
from lightning_layerscope.functional.interval import Interval
from lightning_layerscope.functional.multiplicity import level_of_look
from lightning_layerscope.functional.row_intervals import over_rows
from lightning_layerscope.measurements import Measurement
from lightning_layerscope.measurements.alert import COLLAPSE, FORGETTING, Alert
from lightning_layerscope.measurements.behaviour import CHANGE, LOSS, MEAN, RANKS, RETENTION, Rows, of_tasks

LEVEL = 0.01
"""Share of the runs without anything to find that each kind of alert may be given in, all looks together."""

_LEAST_TASKS = 4
_COLLAPSED = 0.5


def judge(measurement: Measurement, earlier: Sequence[Measurement], baseline: Rows, *, tolerance: float = 0.0) -> None:
    """Add the change of the retention loss to a measurement's scores, and the alerts that it is the first to give.

    Args:
        measurement: The new one.
        earlier: Those of the run before it.
        baseline: How the model answered at the beginning.
        tolerance: Rise of the retention loss that does not count, in nats per answer token.
    """
    raised = {alert.kind for each in earlier for alert in each.alerts}
    rows = measurement.behaviour.rows
    signal = f"{RETENTION}/{CHANGE}"
    seen = [each.behaviour.scores[signal][MEAN] for each in earlier if signal in each.behaviour.scores]
    # What did not differ at all could not err, and was no look.
    change = loss_change(baseline, rows, look=1 + sum(each != Interval(0.0, 0.0, 0.0) for each in seen))
    if change:
        measurement.behaviour.scores[signal] = change
        if change[MEAN].low > tolerance and FORGETTING not in raised:
            measurement.alerts.append(Alert(FORGETTING, _forgotten(measurement.step, change[MEAN])))
    if earlier and COLLAPSE not in raised:
        layers = collapsed_layers(
            of_tasks(baseline, RANKS), of_tasks(rows, RANKS), measurement.profile.clusters, look=len(earlier)
        )
        if any(layers):
            named = [layer for layer, low in zip(measurement.profile.layers, layers, strict=True) if low]
            measurement.alerts.append(Alert(COLLAPSE, _collapsed(measurement.step, named)))


def loss_change(before: Rows, now: Rows, *, look: int, level: float = LEVEL) -> dict[str, Interval]:
    """Rise of the retention loss since the beginning, paired over prompts: per task, and the mean over tasks.

    The tasks are these and no others; prompts are drawn. The intervals are those of this look at a run that is looked
    at again and again (:func:`~lightning_layerscope.functional.level_of_look`).

    Args:
        before: ``retention/loss/<task>`` to ``(prompts,)`` at the beginning; tasks that are unknown there are left out.
        now: The same now.
        look: Which one this is, from 1 on.
        level: Share of the runs without a change in which some look may lie above 0.
    """
    first, last = (of_tasks(rows, f"{RETENTION}/{LOSS}") for rows in (before, now))
    differences = {task: last[task] - first[task] for task in last if task in first and len(first[task]) > 1}
    if not differences:
        return {}
    confidence = 1 - 2 * level_of_look(look, level)
    each = {task: over_rows([rows], confidence) for task, rows in differences.items()}
    return {MEAN: over_rows(list(differences.values()), confidence), **each}


def collapsed_layers(
    before: Rows, now: Rows, clusters: dict[str, str], *, look: int, level: float = LEVEL
) -> list[bool]:
    """Whether each layer's states use less than half of the dimensions that they used at the beginning.

    The mean over tasks of the logarithm of the ratio lies below log 1/2 with its whole interval over tasks, at the
    level of this look and for all layers together. Fewer than four tasks say nothing.

    Args:
        before: Task to ``(layers,)`` effective rank at the beginning.
        now: The same now; undefined where the states do not vary, which is one dimension at most.
        clusters: The cluster of the tasks.
        look: Which one this is, from 1 on.
        level: Share of the runs without a collapse in which some layer at some look may be named.
    """
    tasks = [task for task in now if task in before]
    if len(tasks) < _LEAST_TASKS:
        return []
    first, last = (np.stack([rows[task] for task in tasks]) for rows in (before, now))
    ratios = np.log(np.nan_to_num(last, nan=1.0) / first)
    confidence = 1 - 2 * level_of_look(look, level) / ratios.shape[1]
    means = mean_intervals(ratios, [clusters[task] for task in tasks], confidence=confidence)
    return [bool(high < math.log(_COLLAPSED)) for high in means.high]


def _forgotten(step: int, change: Interval) -> str:
    return (
        f"step {step:,}: the loss on the retention set has risen by {change.value:.3f} nats per answer token since the "
        f"beginning ({change.low:.3f} to {change.high:.3f}, all looks at this run taken together)"
    )


def _collapsed(step: int, layers: Sequence[int]) -> str:
    listed = ", ".join(map(str, layers[:8])) + (", ..." if len(layers) > 8 else "")
    return (
        f"step {step:,}: the states of layer{'s' if len(layers) > 1 else ''} {listed} use less than half of the "
        "dimensions that they used at the beginning"
    )
