"""One HTML file with everything a run found: it needs no network and no JavaScript, and prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from lightning_layerscope.atomic import replace_file
from lightning_layerscope.charts.words import measure_name, step_name
from lightning_layerscope.sinks import report_pictures
from lightning_layerscope.wording import count

if TYPE_CHECKING:
    from lightning_layerscope.measurements import Measurement, RunRecord


def write_report(record: RunRecord, path: str | Path, *, title: str = "") -> Path:
    """Write the report of a run, whole or not at all; an existing file is replaced.

    Args:
        record: of the run, with at least one measurement.
        path: of the HTML file.
        title: over the report; by default the model's name, where it is known.

    Returns:
        The path.

    Raises:
        ValueError: if nothing was measured yet.
    """
    if not record.measurements:
        raise ValueError("expected a record with at least one measurement, got none; report after the first one")
    page = render(record, title=title)
    with replace_file(path) as passing:
        passing.write_text(page, encoding="utf-8")
    return Path(path)


_DRAWN: WeakKeyDictionary[RunRecord, report_pictures.Drawn] = WeakKeyDictionary()
"""Pictures that later reports of the same run need again: what was drawn once is kept as long as the record."""


def render(record: RunRecord, *, title: str = "") -> str:
    """The report's HTML. Names and settings are escaped; only the pictures, drawn here, are put in as they are."""
    from lightning_layerscope import __version__
    from lightning_layerscope.sinks import reading, report_tables
    from lightning_layerscope.sinks.pages import page_template

    last = record.measurements[-1]
    profile = last.profile
    settings, whole = report_tables.configuration(record)
    model = profile.meta.model_name
    figures = [
        ("layers", "Over the layers", "curve", report_pictures.curves(record)),
        ("tasks", "Layer by task", "cells", report_pictures.layer_x_task(record, _DRAWN.setdefault(record, {}))),
        ("training", "Over training", "cells", report_pictures.layer_x_step(record) if len(record) > 1 else []),
        ("neighbours", "Between layers", "cells", report_pictures.layer_x_layer(record)),
        ("between", "Between tasks", "cells", report_pictures.task_x_task(record)),
    ]
    return page_template("report.html").render(
        title=title or (f"Layers of {model}" if model else "Layers of a fine-tuned model"),
        subtitle=_subtitle(record),
        cards=_cards(record),
        ribbon=report_pictures.ribbon(last),
        ribbon_name=measure_name(profile.measure),
        transition=last.transition,
        reading=reading.read_results(record),
        warnings=_reported(record.measurements[-1:], "warnings"),
        earlier=_reported(record.measurements[:-1], "warnings"),
        notes=_reported(record.measurements, "notes"),
        figures=[figure for figure in figures if figure[3]],
        explain=_EXPLAIN,
        tasks=report_tables.task_table(record),
        values=report_tables.value_table(record),
        signals=report_tables.signal_table(record),
        scores=report_tables.score_table(record),
        when=step_name(profile, last.step),
        settings=settings,
        whole=whole,
        version=__version__,
    )


_EXPLAIN = {
    "layers": "The mean over all tasks with its interval, and below it the mean of every cluster. Layer l is the "
    "output of decoder block l before any final norm.",
    "tasks": "One row per task, grouped by cluster. High values: the model holds here what the reference holds.",
    "training": "The mean over tasks, one column per measurement: where and when the layers move away.",
    "neighbours": "How alike the layers of the current model are, mean over tasks. Blocks on the diagonal are layers "
    "that do much the same.",
    "between": "Cosine of the tasks' mean states after the mean over all tasks is removed. Red blocks on the diagonal "
    "are clusters whose tasks the model holds together.",
}


def _subtitle(record: RunRecord) -> str:
    from lightning_layerscope.sinks.reading import against

    profile = record.measurements[-1].profile
    clusters = len(set(profile.clusters.values()))
    parts = [count(len(profile.tasks), "task"), *([count(clusters, "cluster")] if clusters > 1 else [])]
    parts += [count(profile.num_layers, "layer"), f"compared with {against(profile)}"]
    return " · ".join(parts)


def _cards(record: RunRecord) -> list[tuple[str, str, str]]:
    """Name, figure and small print of the numbers on top."""
    from lightning_layerscope.sinks.reading import CONFIDENCE, number, overall

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


def _cost(record: RunRecord) -> str:
    """Steps and time of a run's measurements; empty where two checkpoints were compared, which is no run."""
    last, steps = record.measurements[-1], record.steps
    spent = sum(each.seconds for each in record.measurements)
    span = f"steps {steps[0]:,} to {steps[-1]:,}" if len(steps) > 1 else step_name(last.profile, last.step)
    parts = [span]
    if spent > 0:
        parts.append(f"{spent:.1f} s of measuring")
        if not math.isnan(last.overhead):
            parts.append(f"{last.overhead:.1%} of the run's time with drawing and logging")
    return "; ".join(part for part in parts if part)


def _span(layers: tuple[int, int]) -> str:
    return str(layers[0]) if layers[0] == layers[1] else f"{layers[0]} to {layers[1]}"


def _reported(measurements: Sequence[Measurement], kind: str) -> list[str]:
    """Warnings or notes of the measurements, each once, the latest last."""
    lines: list[Any] = []
    for measurement in measurements:
        meta = measurement.profile.meta
        lines += [*meta.warnings, *measurement.warnings] if kind == "warnings" else meta.notes
    return list(dict.fromkeys(str(line) for line in lines))
