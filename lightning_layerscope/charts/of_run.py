"""The charts of a measurement and of a run, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt

from lightning_layerscope.charts.of_profile import heatmap_layer_x_step, heatmap_layer_x_task, layer_curve
from lightning_layerscope.charts.squares import heatmap_layer_x_layer, heatmap_task_x_task
from lightning_layerscope.charts.words import chosen_steps, step_name
from lightning_layerscope.profiles import LayerProfile
from lightning_layerscope.wording import count

if TYPE_CHECKING:
    from lightning_layerscope.measurements import Measurement, RunRecord

OF_PROFILE, OF_MEASUREMENT = ("tasks", "curve", "steps"), ("tasks", "curve", "layers", "between")
OF_RUN = (*OF_MEASUREMENT, "steps")


def profile_chart(profile: LayerProfile, what: str = "tasks") -> alt.TopLevelMixin:
    """One chart of a profile.

    Args:
        profile: What to show.
        what: ``"tasks"`` (layer x task), ``"curve"`` (the mean over layers) or ``"steps"`` (layer x step).

    Raises:
        ValueError: For another name.
    """
    _check(what, OF_PROFILE)
    if what == "tasks":
        return heatmap_layer_x_task(profile)
    return layer_curve(profile) if what == "curve" else heatmap_layer_x_step(profile)


def measurement_chart(measurement: Measurement, what: str = "tasks", *, layer: int | None = None) -> alt.TopLevelMixin:
    """One chart of a measurement, with its transition.

    Args:
        measurement: What to show.
        what: ``"tasks"`` (layer x task), ``"curve"`` (the mean over layers), ``"layers"`` (layer x layer) or
            ``"between"`` (task x task at one layer).
        layer: Which, for ``"between"``; the last that was measured by default.

    Raises:
        ValueError: For another name, or what was not measured.
    """
    _check(what, OF_MEASUREMENT)
    profile, transition = measurement.profile, measurement.transition
    step = measurement.step if step_name(profile, measurement.step) else None
    if what == "tasks":
        return heatmap_layer_x_task(profile, transition=transition)
    if what == "curve":
        return layer_curve(profile, transition=transition)
    if what == "layers":
        if measurement.layer_x_layer is None:
            raise ValueError(
                "expected a measurement of layer x layer, got one without; measure with layer_x_layer=True"
            )
        return heatmap_layer_x_layer(measurement.layer_x_layer, profile.layers, step=step, tasks=len(profile.tasks))
    at = max(measurement.task_x_task, default=None) if layer is None else layer
    if at not in measurement.task_x_task:
        if not measurement.task_x_task:
            raise ValueError(
                f"expected a measurement of task x task, got one of {count(len(profile.tasks), 'task')} without; it "
                "takes at least two tasks, and layers with task_x_task="
            )
        raise ValueError(f"expected a layer of task x task, got {at}; there are {sorted(measurement.task_x_task)}")
    return heatmap_task_x_task(measurement.task_x_task[at], profile.tasks, profile.clusters, at, step=step)


def run_chart(record: RunRecord, what: str = "curve", *, layer: int | None = None) -> alt.TopLevelMixin:
    """One chart of a run.

    Args:
        record: With at least one measurement.
        what: ``"curve"`` (first, previous and last measurement), ``"steps"`` (layer x step), or what
            :func:`measurement_chart` shows of the last measurement.
        layer: See there.

    Raises:
        ValueError: For another name, for what was not measured, or if nothing was measured yet.
    """
    _check(what, OF_RUN)
    if not record.measurements:
        raise ValueError("expected a record with at least one measurement, got none; plot after the first one")
    last = record.measurements[-1]
    if what == "steps":
        return heatmap_layer_x_step(last.profile, means=record.task_means)
    if what == "curve":
        shown = [record.measurements[record.steps.index(step)] for step in chosen_steps(record.steps)]
        return layer_curve(LayerProfile.concat(each.profile for each in shown), transition=last.transition)
    return measurement_chart(last, what, layer=layer)


def _check(what: str, known: tuple[str, ...]) -> None:
    if what not in known:
        raise ValueError(f"expected one of {', '.join(map(repr, known))}, got {what!r}")
