"""The charts of a profile: tasks and steps beside layers, the curve over layers, and the difference of two profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import altair as alt
import numpy as np

from lightning_layerscope.charts import rows
from lightning_layerscope.charts.cells import LAYERS, LAYERS_UP, STEPS, TASKS, Axis, heatmap
from lightning_layerscope.charts.lines import curves
from lightning_layerscope.charts.shape import Words
from lightning_layerscope.charts.words import (
    Floats,
    axis_limits,
    beyond,
    chosen_steps,
    context,
    cut_line,
    limits,
    measure_name,
)
from lightning_layerscope.wording import count

if TYPE_CHECKING:
    from lightning_layerscope.profiles import LayerProfile
    from lightning_layerscope.profiles.diff import ProfileDiff
    from lightning_layerscope.transitions import Transition

_AGES = (["current"], ["first", "current"], ["first", "previous", "current"])


def heatmap_layer_x_task(
    profile: LayerProfile,
    *,
    step: int | None = None,
    measure: str | None = None,
    transition: Transition | None = None,
    scale: tuple[float, float] | None = None,
) -> alt.LayerChart:
    """Every task's value at every layer, tasks grouped by cluster.

    Args:
        profile: Where the values are.
        step: Which measurement; the last by default.
        measure: Which measure; the headline by default.
        transition: Mark its parts above the cells.
        scale: Lowest and highest value of the colours. By default 0 and 1 for a similarity, at every step of every run,
            so that charts can be compared; debiased values below 0 keep the lowest colour, and the subtitle says so.

    Returns:
        The chart; undefined cells are slashed, with their reasons in the subtitle and the tooltip.

    Raises:
        KeyError: If the profile has no such measure or step.
    """
    name = measure or profile.measure
    found = profile.rows(name, step)
    when = int(found["step"].iloc[0])
    span = scale or limits(name, found["value"])
    words = Words(
        f"{measure_name(name)} per layer and task",
        context(profile, name, when),
        [*cut_line(transition), *beyond(found["value"], *span)],
        measure_name(name),
    )
    cells, spans = (
        rows.task_cells(profile, measure=name, step=when),
        rows.cluster_spans(profile.tasks, profile.clusters),
    )
    return heatmap(cells, LAYERS, TASKS, words, limits=span, brackets=spans, parts=rows.parts(transition))


def heatmap_layer_x_step(
    profile: LayerProfile,
    *,
    measure: str | None = None,
    scale: tuple[float, float] | None = None,
    means: Mapping[int, Floats] | None = None,
) -> alt.LayerChart:
    """The mean over tasks at every layer, measurement after measurement.

    Args:
        profile: Of all measurements so far; where ``means`` are given, that of any of them.
        measure: Which measure; the headline by default.
        scale: Lowest and highest value of the colours; fixed by default, see :func:`heatmap_layer_x_task`.
        means: Step -> ``(layers,)`` mean over tasks of ``measure``, where it is at hand; computed by default.

    Raises:
        KeyError: If the profile has no such measure.
    """
    name = measure or profile.measure
    if means is None:
        means = {step: profile.mean_curve(name, step)["value"].to_numpy(np.float64) for step in _steps(profile, name)}
    span = scale or limits(name, np.stack(list(means.values())))
    words = Words(
        f"{measure_name(name)} per layer over training, mean over tasks",
        f"{context(profile, name, max(means))} · {count(len(means), 'measurement')}",
        beyond(np.stack(list(means.values())), *span),
        measure_name(name),
    )
    return heatmap(rows.step_cells(profile.layers, means), STEPS, LAYERS_UP, words, limits=span)


def layer_curve(
    profile: LayerProfile,
    *,
    steps: Sequence[int] | None = None,
    transition: Transition | None = None,
    measure: str | None = None,
    names: Sequence[str] | None = None,
    confidence: float = 0.9,
) -> alt.LayerChart | alt.VConcatChart:
    """The mean over all tasks per layer with its band, above one small panel per measurement with a line per cluster.

    Without clusters (or with one, whose mean is that of all tasks) there are no small panels.

    Args:
        profile: Where the values are.
        steps: Measurements, oldest first; the first, the previous and the current one by default.
        transition: Of the last of these steps: its parts are named and its intervals drawn, or it is said that there is
            none.
        measure: Which measure; the headline by default.
        names: What the measurements are called; of one to three ``first``, ``previous``, ``current`` by default.
        confidence: Of the band, an interval over tasks.

    Raises:
        ValueError: For no step, or names that do not fit.
        KeyError: If the profile has no such measure or step.
    """
    name = measure or profile.measure
    measured = _steps(profile, name)
    when = list(steps) if steps is not None else chosen_steps(measured)
    if not when:
        raise ValueError("expected at least one step, got none; pass those to show, oldest first")
    titles = list(names) if names is not None else _AGES[len(when) - 1] if len(when) <= len(_AGES) else [""] * len(when)
    if len(titles) != len(when):
        raise ValueError(f"expected one name per step, got {len(titles)} for {len(when)}; pass `names` like `steps`")
    series = rows.series_names(profile, when, titles)
    means = rows.mean_curves(profile, series, measure=name, confidence=confidence)
    groups = rows.cluster_curves(profile, series, measure=name)
    span = axis_limits(name, _seen(means, groups))
    words = Words(
        f"{measure_name(name)} over layers",
        f"{context(profile, name, when[-1])} · band: {confidence:.0%} interval over tasks",
        cut_line(transition, whole=True),
        f"{measure_name(name)}, mean over tasks" + (f" (axis from {span[0]:g})" if 0 < span[0] < 1 <= span[1] else ""),
    )
    cut, ends = rows.parts(transition), rows.boundaries(transition)
    return curves(means, words, limits=span, parts=cut, boundaries=ends, clusters=groups)


def heatmap_difference(difference: ProfileDiff) -> alt.LayerChart:
    """The second profile minus the first, per task and layer: one colour for more, another for less.

    Args:
        difference: Over layers, or over relative depth where the models differ in it.
    """
    first = difference.meta["first"]
    cells = rows.difference_cells(difference)
    values = [abs(cell["value"]) for cell in cells if cell["value"] is not None]
    most = max(values, default=0.0) or 1.0
    what = f"difference in {measure_name(difference.measure)}"
    words = Words(
        f"{what[0].upper()}{what[1:]} per layer and task",
        count(len(first.tasks), "task"),
        value=f"{what} (second - first)",
    )
    spans = rows.cluster_spans(first.tasks, first.clusters)
    across = Axis("depth", "relative depth (layer / number of layers)") if difference.by_depth else LAYERS
    return heatmap(cells, across, TASKS, words, limits=(-most, most), diverging=True, brackets=spans)


def _steps(profile: LayerProfile, measure: str) -> list[int]:
    found = profile.frame[profile.frame["measure"] == measure]
    if found.empty:
        raise KeyError(f"no measure {measure!r} in this profile; it has {profile.measures}")
    return [int(step) for step in np.sort(found["step"].unique())]


def _seen(means: Sequence[rows.Row], groups: Sequence[rows.Row]) -> Floats:
    """What the axis has to show: bands of few tasks may be far wider than the values can be, and are cut."""
    values = [row["value"] for row in (*means, *groups) if row["value"] is not None]
    least, most = min([0.0, *values]), max([1.0, *values])
    bounds = [row[side] for row in means for side in ("low", "high") if row[side] is not None]
    return np.asarray([*values, *np.clip(bounds, least, most)], dtype=np.float64)
