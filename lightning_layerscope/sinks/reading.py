"""A run's results in words: every number with its interval over tasks, and what is undefined."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lightning_layerscope.charts.words import measure_name, step_name
from lightning_layerscope.functional.cluster_intervals import MIN_CLUSTERS, defined_mean, narrow_note
from lightning_layerscope.functional.interval import Interval
from lightning_layerscope.profiles.curves import mean_curve
from lightning_layerscope.sinks.reading_answers import read_answers
from lightning_layerscope.wording import count

if TYPE_CHECKING:
    import pandas as pd

    from lightning_layerscope.measurements import RunRecord
    from lightning_layerscope.profiles import LayerProfile

CONFIDENCE = 0.9


def read_results(record: RunRecord) -> list[str]:
    """Paragraphs for people: level, layers, clusters, change over training, transition, and what is undefined.

    Args:
        record: With at least one measurement.
    """
    last = record.measurements[-1]
    profile = last.profile
    parts = [_level(profile, last.step), _layers(profile), _clusters(profile), _change(record)]
    parts += [last.transition.describe(), last.signals.describe() if last.signals else "", _undefined(profile)]
    parts += read_answers(record)
    return [part for part in parts if part]


def overall(profile: LayerProfile) -> Interval:
    """Mean over layers and tasks at the last step, with its interval over tasks; NaN where undefined."""
    means = defined_mean(profile.matrix(), axis=1)
    curve = mean_curve(means[:, None], [0], CONFIDENCE, _labels(profile))
    return Interval(*(float(curve[name].iloc[0]) for name in ("value", "low", "high")))


def against(profile: LayerProfile) -> str:
    """What the model was compared with, in words."""
    reference = profile.meta.reference or "the reference"
    named = {"initial": "the model at the start of this run", "base": "the base model (adapters off)"}
    return named.get(reference, f"the reference {reference}")


def number(value: float) -> str:
    """Three digits after the point; ``undefined`` for NaN.

    Examples:
        >>> number(0.5), number(float("nan"))
        ('0.500', 'undefined')
    """
    return f"{value:.3f}" if np.isfinite(value) else "undefined"


def _level(profile: LayerProfile, step: int) -> str:
    mean = overall(profile)
    name, estimator = measure_name(profile.measure), profile.meta.estimator
    clusters = len(set(profile.clusters.values()))
    grouped = f" in {count(clusters, 'cluster')}" if clusters > 1 else ""
    at_step = f"At {step_name(profile, step)} t" if step_name(profile, step) else "T"
    return (
        f"{at_step}he hidden states of {count(len(profile.tasks), 'task')}{grouped} were compared with "
        f"{against(profile)}. {name} ({estimator}) averages {number(mean.value)} over tasks and "
        f"{count(len(profile.layers), 'layer')}{_interval(mean.low, mean.high)}.{_caution(profile)}"
    )


def _labels(profile: LayerProfile) -> list[str]:
    return [profile.clusters[task] for task in profile.tasks]


def _caution(profile: LayerProfile) -> str:
    """What to say of all intervals over these tasks."""
    labels = _labels(profile)
    if len(labels) < 2:
        return ""
    number = len(set(labels))
    note = narrow_note(len(labels), number, by_cluster=MIN_CLUSTERS <= number < len(labels))
    return f" Intervals over tasks are {note}." if note else ""


def _layers(profile: LayerProfile) -> str:
    # The layers were chosen from all of them, so their intervals have to hold for all of them.
    curve = profile.mean_curve(confidence=CONFIDENCE, simultaneous=True)
    values = curve["value"].to_numpy(dtype=np.float64)
    if not np.isfinite(values).any() or np.nanmax(values) - np.nanmin(values) < 1e-6:
        return ""
    high, low = curve.iloc[int(np.nanargmax(values))], curve.iloc[int(np.nanargmin(values))]
    return f"Over the layers it is highest at {_point(high)} and lowest at {_point(low)}."


def _clusters(profile: LayerProfile) -> str:
    means = defined_mean(profile.matrix(), axis=1)
    groups: dict[str, list[float]] = {}
    for task, mean in zip(profile.tasks, means, strict=True):
        if np.isfinite(mean):
            groups.setdefault(profile.clusters[task], []).append(float(mean))
    if len(groups) < 2 or np.ptp([np.mean(values) for values in groups.values()]) < 1e-6:
        return ""
    order = sorted(groups, key=lambda cluster: float(np.mean(groups[cluster])))

    def described(cluster: str) -> str:
        values = groups[cluster]
        spread = (
            f"its {count(len(values), 'task')} {min(values):.3f} to {max(values):.3f}"
            if len(values) > 1
            else "one task"
        )
        return f"{cluster} ({np.mean(values):.3f}; {spread})"

    lowest, highest = described(order[0]), described(order[-1])
    return f"Averaged over layers, the cluster with the lowest mean is {lowest}, the highest {highest}."


def _change(record: RunRecord) -> str:
    if len(record.measurements) < 2:
        return ""
    first, last = record.measurements[0], record.measurements[-1]
    delta = last.profile.matrix() - first.profile.matrix()
    curve = mean_curve(delta, last.profile.layers, CONFIDENCE, _labels(last.profile), simultaneous=True)
    values = curve["value"].to_numpy(dtype=np.float64)
    if not np.isfinite(values).any():
        return ""
    top = curve.iloc[int(np.nanargmax(np.abs(values)))]
    return (
        f"From step {first.step:,} to step {last.step:,} the mean over tasks changed most at layer "
        f"{int(top['layer'])}, by {top['value']:+.3f}{_interval(top['low'], top['high'], sign='+', what='band')}."
    )


def _undefined(profile: LayerProfile) -> str:
    rows = profile.rows()
    missing = rows[rows["value"].isna()]
    if missing.empty:
        return ""
    why = "; ".join(f"{reason} ({number})" for reason, number in missing["reason"].value_counts().items())
    return f"{len(missing)} of {len(rows)} values are undefined and left out of the means: {why}."


def _point(row: pd.Series) -> str:
    return f"layer {int(row['layer'])} ({row['value']:.3f}{_interval(row['low'], row['high'], bare=True, what='band')})"


def _interval(low: float, high: float, *, sign: str = "", bare: bool = False, what: str = "interval") -> str:
    if not (np.isfinite(low) and np.isfinite(high)):
        return "" if bare else " (no interval: fewer than two tasks)"
    text = f"{CONFIDENCE:.0%} {what} over tasks {low:{sign}.3f} to {high:{sign}.3f}"
    return f", {text}" if bare else f" ({text})"
