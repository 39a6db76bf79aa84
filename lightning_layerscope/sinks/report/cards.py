"""What stands on top of a report: a line that says what was compared, and the numbers that matter most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lightning_layerscope.charts.words import measure_name, step_name
from lightning_layerscope.sinks.reading import CONFIDENCE, against, number, overall
from lightning_layerscope.wording import count

if TYPE_CHECKING:
    from lightning_layerscope.measurements import RunRecord
    from lightning_layerscope.sinks.report.comparing import Pair

Card = tuple[str, str, str]
"""Name, figure and small print."""


def subtitle(record: RunRecord) -> str:
    """Tasks, clusters, layers, and what the model was compared with."""
    profile = record.measurements[-1].profile
    clusters = len(set(profile.clusters.values()))
    parts = [count(len(profile.tasks), "task"), *([count(clusters, "cluster")] if clusters > 1 else [])]
    parts += [count(profile.num_layers, "layer"), f"compared with {against(profile)}"]
    return " · ".join(parts)


def comparison_subtitle(records: Mapping[str, RunRecord]) -> str:
    """The same of several runs: said once where it is the same of all."""
    lines = {name: subtitle(record) for name, record in records.items()}
    if len(set(lines.values())) == 1:
        return f"{count(len(lines), 'run')}, each: {next(iter(lines.values()))}"
    return "; ".join(f"{name}: {line}" for name, line in lines.items())


def run_cards(record: RunRecord) -> list[Card]:
    """The numbers on top of one run's report."""
    last = record.measurements[-1]
    profile, cut = last.profile, last.transition
    mean = overall(profile)
    curve = profile.mean_curve(confidence=CONFIDENCE)
    values = curve["value"].to_numpy(dtype=np.float64)
    interval = f"{CONFIDENCE:.0%} interval over tasks"
    cards = [
        (
            f"mean {measure_name(profile.measure)}",
            number(mean.value),
            f"{interval}: {mean.low:.3f} to {mean.high:.3f}" if np.isfinite(mean.low) else "one task: no interval",
        )
    ]
    if np.isfinite(values).any():
        # Chosen from all layers, so its interval is to hold for all of them, as in the words.
        least = profile.mean_curve(confidence=CONFIDENCE, simultaneous=True).iloc[int(np.nanargmin(values))]
        flat = np.nanmax(values) - np.nanmin(values) < 1e-6
        small = f"{least['value']:.3f}" + (
            f", {CONFIDENCE:.0%} band over tasks: {least['low']:.3f} to {least['high']:.3f}"
            if np.isfinite(least["low"])
            else ""
        )
        cards.append(("lowest", "everywhere alike" if flat else f"layer {int(least['layer'])}", small))
    if cut.found and cut.start_interval and cut.end_interval:
        bounds = f"starts at {_span(cut.start_interval)}, ends at {_span(cut.end_interval)}"
        small = f"{bounds} with {cut.confidence:.0%} confidence"
        cards.append(
            (cut.kind, f"layers {cut.start} to {cut.end}" if cut.start != cut.end else f"layer {cut.start}", small)
        )
    else:
        cards.append((cut.kind, "none found", cut.reason))
    if small := _cost(record):
        cards.append(("measurements", f"{len(record):,}", small))
    return cards


def comparison_cards(records: Mapping[str, RunRecord], pairs: Sequence[Pair]) -> list[Card]:
    """The mean of every run with its interval, and where each differs most from the first."""
    cards = []
    for name, record in records.items():
        last = record.measurements[-1]
        mean = overall(last.profile)
        when = step_name(last.profile, last.step)
        bounds = f"{CONFIDENCE:.0%} interval over tasks: {mean.low:.3f} to {mean.high:.3f}"
        small = "; ".join(filter(None, (when, bounds if np.isfinite(mean.low) else "one task: no interval")))
        cards.append((f"{name}: mean {measure_name(last.profile.measure)}", number(mean.value), small))
    return [*cards, *(card for pair in pairs if (card := pair.card))]


def _cost(record: RunRecord) -> str:
    """Steps and time of a run's measurements; empty where two checkpoints were compared, which is no run."""
    last, steps = record.measurements[-1], record.steps
    spent = sum(each.seconds for each in record.measurements)
    span = f"steps {steps[0]:,} to {steps[-1]:,}" if len(steps) > 1 else step_name(last.profile, last.step)
    parts = [span]
    if spent > 0:
        parts.append(f"{spent:.1f} s of measuring")
        if not math.isnan(last.overhead):
            parts.append(f"{last.overhead:.1%} of the run's time with writing and logging")
    return "; ".join(part for part in parts if part)


def _span(layers: tuple[int, int]) -> str:
    return str(layers[0]) if layers[0] == layers[1] else f"{layers[0]} to {layers[1]}"
