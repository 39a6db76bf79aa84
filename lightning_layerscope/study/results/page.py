"""The study as one HTML file: it needs no network, in the style of a run's report."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lightning_layerscope.atomic import replace_file
from lightning_layerscope.measurements import Measurement, RunRecord
from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.results.curves import StudySummary
from lightning_layerscope.study.results.page_table import page_table
from lightning_layerscope.study.results.sentences import notices, read_study
from lightning_layerscope.study.results.study_results import DRIFT, StudyResults
from lightning_layerscope.study.results.table import task_rows
from lightning_layerscope.transitions import Transition
from lightning_layerscope.wording import count

_HEADINGS = {
    "figure2_layers": "Over the layers (figure 2)",
    "figure2_specialists": "Over the layers, tasks whose control is a specialist (figure 2)",
    "figure3_clusters": "Cluster by cluster (figure 3)",
    "figure4": "Tasks in a plane (figure 4)",
    "figure5_components": "How many directions the layers use (figure 5)",
    "figure6_correlations": "What it goes with (figure 6)",
    "figure7_unseen": "Tasks that were not trained on (figure 7)",
}


def write_page(
    results: StudyResults, cuts: Mapping[str, Transition], summary: StudySummary, plan: StudyPlan, folder: Path
) -> Path:
    """Write ``report.html`` beside the figures that it holds."""
    from lightning_layerscope import __version__
    from lightning_layerscope.sinks.report import templates
    from lightning_layerscope.sinks.report.comparing import pairs
    from lightning_layerscope.sinks.report.page import page_data

    records = _records(results, cuts)
    data, numbers = page_data(records, pairs(records))
    data["figures"] = {name: _figure(folder, name) for name in summary.figures}
    scripts = [templates.drawing_script(), templates.own_script()]
    lines = notices(results)
    page = templates.page_template("study.html").render(
        title="Study" if plan.name == "study" else f"Study {plan.name}",
        subtitle=_subtitle(results),
        cards=_cards(results, cuts),
        reading=[
            line for line in (*read_study(results, cuts), summary.transitions["signals"], summary.layer_check) if line
        ],
        notices=[{"name": "", "any": bool(lines), "warnings": lines, "notes": [], "earlier": []}],
        sections=_sections(folder, summary.figures),
        table=page_table(task_rows(results)),
        settings=_settings(plan),
        plan=json.dumps(plan.model_dump(mode="json", exclude={"wandb"}), indent=1, ensure_ascii=False),
        data=templates.json_in_page(data),
        numbers=numbers,
        scripts=scripts,
        policy=templates.policy(scripts),
        follow=None,
        version=__version__,
    )
    path = folder / "report.html"
    with replace_file(path) as passing:
        passing.write_text(page, encoding="utf-8")
    return path


_NAMES = {"base": "base model", "multitask": "multi-task model", "tuned": "tuned model"}


def _records(results: StudyResults, cuts: Mapping[str, Transition]) -> dict[str, RunRecord]:
    """What the page's choices are of: both models against the controls, or the tuned one against the base model."""
    records = {}
    for role in results.values():
        profile = results.profiles[role if results.has_controls else DRIFT]
        measurement = Measurement(step=profile.steps[0], profile=profile, transition=cuts[role])
        records[_NAMES[role]] = RunRecord({}, [measurement])
    return records


def _subtitle(results: StudyResults) -> str:
    parts = [
        count(len(results.names), "task"),
        count(len(set(results.clusters)), "cluster"),
        count(len(results.layers), "layer"),
    ]
    if results.has_controls:
        tuned = "multi-task" if results.trained_here else "tuned"
        parts.append(f"base and {tuned} model against single-task controls")
    else:
        parts.append("tuned model against base model")
    return " · ".join(parts)


def _cards(results: StudyResults, cuts: Mapping[str, Transition]) -> list[tuple[str, str, str]]:
    cards = []
    for role, values in results.values().items():
        finite = values[np.isfinite(values)]
        small = "with the control, mean over tasks and layers" if results.has_controls else "with the base model"
        cards.append((f"CKA, {_NAMES[role]}", f"{finite.mean():.3f}" if finite.size else "undefined", small))
    for role in results.values():
        cut = cuts.get(role)
        if cut is not None:
            value = f"layers {cut.start} to {cut.end}" if cut.found else "none found"
            cards.append((f"{cut.kind}, {_NAMES[role]}", value, cut.reason if not cut.found else cut.shape))
    return cards


def _sections(folder: Path, captions: Mapping[str, str]) -> list[dict[str, Any]]:
    sections: dict[str, dict[str, Any]] = {}
    for name, caption in captions.items():
        key = next(prefix for prefix in _HEADINGS if name.startswith(prefix))
        data = base64.b64encode((folder / "figures" / f"{name}.png").read_bytes()).decode()
        section = sections.setdefault(key, {"id": key, "heading": _HEADINGS[key], "pictures": []})
        section["pictures"].append({"name": name, "data": data, "caption": caption})
    return [sections[key] for key in sorted(sections)]


def _figure(folder: Path, name: str) -> dict[str, Any]:
    """A figure's description and rows, without the look, which the page has."""
    described = json.loads((folder / "figures" / f"{name}.vl.json").read_text(encoding="utf-8"))
    spec = {key: value for key, value in described.items() if key not in ("datasets", "config", "$schema")}
    return {"spec": spec, "datasets": described["datasets"]}


def _settings(plan: StudyPlan) -> list[tuple[str, str]]:
    settings = [("base model", plan.model), ("tuned model", plan.tuned or "trained here"), ("tasks", plan.tasks.source)]
    if plan.trains:
        t = plan.training
        batches = f"{t.epochs} epochs of batches of {t.batch_size} x {t.accumulate}"
        recipe = f"{t.method}, learning rate {t.learning_rate:g}, {batches}"
        settings += [("recipe", recipe), ("held out", ", ".join(plan.held_out) or "none")]
        settings.append(("seed", str(t.seed)))
        if plan.controls is None:
            settings.append(("control seeds", ", ".join(map(str, t.control_seeds))))
            settings.append(("control budget", t.control_budget.replace("_", " ")))
    if plan.controls is not None:
        settings.append(("controls", plan.controls))
    settings.append(("estimator", plan.estimator))
    return [*settings, ("probes", f"{plan.probes.examples_per_task} per task, {plan.probes.token_choice}")]
