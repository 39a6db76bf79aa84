"""The report as one HTML page: everything measured, to choose from, and what it says in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_layerscope.atomic import replace_file
from lightning_layerscope.sinks.report import cards, comparing, descriptions
from lightning_layerscope.sinks.report.configuration import configuration
from lightning_layerscope.sinks.report.packing import Packer
from lightning_layerscope.sinks.report.run_data import run_data
from lightning_layerscope.sinks.report.templates import (
    drawing_script,
    json_in_page,
    own_script,
    page_template,
    policy,
)

if TYPE_CHECKING:
    from lightning_layerscope.measurements import Measurement, RunRecord


def write_report(record: RunRecord, path: str | Path, *, title: str = "") -> Path:
    """Write the report of a run, whole or not at all; an existing file is replaced.

    Args:
        record: Of the run, with at least one measurement.
        path: Of the HTML file.
        title: Over the report; by default the model's name, where it is known.

    Returns:
        The path.

    Raises:
        ValueError: If nothing was measured yet.
    """
    return write_comparison({"": record}, path, title=title)


def write_comparison(
    records: Mapping[str, RunRecord], path: str | Path, *, title: str = "", follow: float | None = None
) -> Path:
    """Write one report of several runs side by side with their differences; an existing file is replaced.

    Args:
        records: Name of a run to its record, with at least one measurement each; the first is subtracted from the
            others.
        path: Of the HTML file.
        title: Over the report.
        follow: Seconds after which an open page loads itself again, for a file that is written again and again.

    Returns:
        The path.

    Raises:
        ValueError: If there is no run, or nothing was measured yet in one.
    """
    if not records:
        raise ValueError("expected at least one run to report, got none")
    for name, record in records.items():
        if not record.measurements:
            which = f" {name}" if name else ""
            raise ValueError(
                f"expected a record{which} with at least one measurement, got none; report after the first one"
            )
    page = render(records, title=title, follow=follow)
    with replace_file(path) as passing:
        passing.write_text(page, encoding="utf-8")
    return Path(path)


def render(records: Mapping[str, RunRecord], *, title: str = "", follow: float | None = None) -> str:
    """The report's HTML. Names and settings are escaped; scripts are our own and Vega's."""
    from lightning_layerscope import __version__
    from lightning_layerscope.sinks import reading

    runs = list(records.values())
    pairs = comparing.pairs(records)
    data, numbers = page_data(records, pairs)
    scripts = [drawing_script(), own_script()]
    return page_template("report.html").render(
        title=title or _title(records),
        subtitle=_subtitle(records),
        cards=cards.run_cards(runs[0]) if len(runs) == 1 else cards.comparison_cards(records, pairs),
        reading=[(name, reading.read_results(record)) for name, record in records.items()],
        differences=[pair.words for pair in pairs],
        notices=[_notices(name, record) for name, record in records.items()],
        settings=[(name, *configuration(record)) for name, record in records.items()],
        data=json_in_page(data),
        numbers=numbers,
        scripts=scripts,
        policy=policy(scripts),
        several=len(runs) > 1,
        trained=any(len(record) > 1 for record in runs),
        has={name: any(run[name] for run in data["runs"]) for name in ("signals", "scores")},
        follow=follow,
        version=__version__,
    )


def page_data(records: Mapping[str, RunRecord], pairs: Sequence[comparing.Pair]) -> tuple[dict[str, Any], str]:
    """What the page's script reads: names and descriptions of charts, and all numbers as one text."""
    from lightning_layerscope.functional.student import student_quantile
    from lightning_layerscope.sinks.reading import CONFIDENCE

    packer = Packer()
    runs = [run_data(name, record, packer) for name, record in records.items()]
    _tell_apart([measure for run in runs for measure in run["measures"]])
    most = max(len(run["tasks"]) for run in runs)
    data = {
        "runs": runs,
        "differences": [{"first": pair.first, "second": pair.second, "reason": pair.reason} for pair in pairs],
        "descriptions": [descriptions.descriptions(tuple(run["layers"]), tuple(run["tasks"])) for run in runs],
        "blanks": descriptions.blanks(),
        "looks": descriptions.looks(),
        "colours": descriptions.COLOURS,
        "student": [0.0, *(student_quantile((1 + CONFIDENCE) / 2, freedom) for freedom in range(1, most))],
        "confidence": CONFIDENCE,
        "columns": packer.columns,
    }
    return data, packer.text()


def _tell_apart(measures: Sequence[dict[str, Any]]) -> None:
    """Put the estimator into titles that measures of several estimators share."""
    for title in {measure["title"] for measure in measures}:
        same = [measure for measure in measures if measure["title"] == title]
        if len({measure["key"] for measure in same}) > 1:
            for measure in same:
                measure["title"] = f"{title} ({measure['estimator'] or 'no estimator'})"


def _title(records: Mapping[str, RunRecord]) -> str:
    if len(records) > 1:
        return " · ".join(records)
    model = next(iter(records.values())).measurements[-1].profile.meta.model_name
    return f"Layers of {model}" if model else "Layers of a fine-tuned model"


def _subtitle(records: Mapping[str, RunRecord]) -> str:
    return cards.subtitle(next(iter(records.values()))) if len(records) == 1 else cards.comparison_subtitle(records)


def _notices(name: str, record: RunRecord) -> dict[str, Any]:
    """What to know before relying on a run's numbers; the latest measurement's warnings stand apart."""
    lists = {
        "warnings": _reported(record.measurements[-1:], "warnings"),
        "earlier": _reported(record.measurements[:-1], "warnings"),
        "notes": _reported(record.measurements, "notes"),
    }
    return {"name": name, "any": any(lists.values()), **lists}


def _reported(measurements: Sequence[Measurement], kind: str) -> list[str]:
    """Warnings or notes of the measurements, each once, the latest last."""
    lines: list[Any] = []
    for measurement in measurements:
        meta = measurement.profile.meta
        lines += [*meta.warnings, *measurement.warnings] if kind == "warnings" else meta.notes
    return list(dict.fromkeys(str(line) for line in lines))
