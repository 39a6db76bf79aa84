"""The study as one HTML file: it needs no network, in the style of a run's report."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lightning_layerscope.study.gather import Findings
from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.table import task_rows
from lightning_layerscope.transitions import Transition

_HEADINGS = {
    "figure2_layers": "Over the layers (figure 2)",
    "figure3_clusters": "Cluster by cluster (figure 3)",
    "figure4": "Tasks in a plane (figure 4)",
    "figure5_components": "How many directions the layers use (figure 5)",
    "figure6_correlations": "What it goes with (figure 6)",
    "figure7_unseen": "Tasks that were not trained on (figure 7)",
}


def write_report(
    findings: Findings, cuts: Mapping[str, Transition], summary: Mapping[str, Any], plan: StudyPlan, folder: Path
) -> Path:
    """Write ``report.html`` beside the figures that it holds."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from lightning_layerscope import __version__
    from lightning_layerscope.sinks.report import TEMPLATES

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("study.html").render(
        title=f"Study {plan.name}",
        subtitle=_subtitle(findings),
        cards=_cards(findings, cuts),
        reading=read_study(findings, cuts),
        notices=_notices(findings),
        sections=_sections(folder, summary["figures"]),
        table=_table(findings),
        settings=_settings(plan),
        plan=json.dumps(plan.model_dump(mode="json", exclude={"wandb"}), indent=1, ensure_ascii=False),
        version=__version__,
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def read_study(findings: Findings, cuts: Mapping[str, Transition]) -> list[str]:
    """What the numbers say, in sentences; only what has an interval is called a finding."""
    told = []
    if findings.has_controls:
        known = [row for row in task_rows(findings) if row["gained"] is not None]
        rows = [row for row in known if row["control_learned"] is not False]
        if rows:
            learned = "learned" if all(row["control_learned"] for row in rows) else "is not known to have missed"
            counts = {
                words: sum(row["verdict"] == words for row in rows) for words in sorted({r["verdict"] for r in rows})
            }
            told.append(
                f"Of {len(rows)} tasks whose control {learned} its task, by the interval of each: "
                + ", ".join(f"{words}: {count}" for words, count in sorted(counts.items()))
                + ". The intervals are not corrected for the number of tasks."
            )
            encoded, gained = (np.asarray([row[key] for row in rows]) for key in ("encoded", "gained"))
            told.append(
                f"Mean over these tasks: the base model holds {encoded.mean():.3f} of what the controls hold "
                f"(CKA, mean over layers); tuning adds {gained.mean():+.3f}."
            )
            for seen, words in ((True, "seen"), (False, "not seen")):
                part = [row["gained"] for row in rows if row["seen"] is seen]
                if part and findings.trained and len(part) < len(rows):
                    told.append(f"Tasks {words} in training gain {np.mean(part):+.3f} ({len(part)} tasks).")
    else:
        mean = findings.profiles["drift"].mean_curve()
        low = mean.iloc[int(np.nanargmin(mean["value"].to_numpy()))]
        told.append(
            f"The tuned model is farthest from the base model at layer {int(low['layer'])}: mean CKA over "
            f"{len(findings.names)} tasks {low['value']:.3f}."
        )
    return told + [cut.describe() for cut in cuts.values()]


def _subtitle(findings: Findings) -> str:
    parts = [
        f"{len(findings.names)} tasks",
        f"{len(set(findings.clusters))} clusters",
        f"{len(findings.layers)} layers",
    ]
    if findings.has_controls:
        tuned = "multi-task" if findings.trained_here else "tuned"
        parts.append(f"base and {tuned} model against single-task controls")
    else:
        parts.append("tuned model against base model")
    return " · ".join(parts)


def _cards(findings: Findings, cuts: Mapping[str, Transition]) -> list[tuple[str, str, str]]:
    cards = []
    names = {"base": "base model", "multitask": "multi-task model", "tuned": "tuned model"}
    for role, values in findings.values().items():
        finite = values[np.isfinite(values)]
        small = "with the control, mean over tasks and layers" if findings.has_controls else "with the base model"
        cards.append((f"CKA, {names[role]}", f"{finite.mean():.3f}" if finite.size else "undefined", small))
    for role in findings.values():
        cut = cuts.get(role)
        if cut is not None:
            value = f"layers {cut.start} to {cut.end}" if cut.found else "none found"
            cards.append((f"{cut.kind}, {names[role]}", value, cut.reason if not cut.found else cut.shape))
    return cards


def _notices(findings: Findings) -> list[str]:
    told = []
    unlearned = [row["task"] for row in task_rows(findings) if row["control_learned"] is False]
    if unlearned:
        told.append(
            f"The controls of {len(unlearned)} tasks did not learn their task (held-out loss not below the base "
            f"model's beyond chance), so that similarity to them means nothing: {', '.join(unlearned)}."
        )
    unknown = [row["task"] for row in task_rows(findings) if row["control_learned"] is None]
    if findings.has_controls and unknown:
        told.append(
            f"Whether the controls of {len(unknown)} tasks learned their task is not known, for want of held-out "
            f"losses of the same tokens: {', '.join(unknown)}."
        )
    if findings.has_controls and all(found.get("noise") is None for found in findings.tasks.values()):
        told.append(
            "There is one seed per control, so the noise floor is not known: controls trained with "
            "training.control_seeds: [0, 1] give it."
        )
    few = [name for name in findings.names if findings.data[name]["test_rows"] < 100]
    if few:
        told.append(f"{len(few)} tasks have fewer than 100 prompts, and wide intervals: {', '.join(few)}.")
    cut = {name: facts["truncated"] for name, facts in findings.data.items() if facts["truncated"]}
    if cut:
        told.append("Prompts cut to the token budget: " + ", ".join(f"{k} {v}" for k, v in cut.items()) + ".")
    if findings.profiles["drift"].meta["estimator"] == "biased":
        told.append("The biased estimator is inflated where examples are fewer than dimensions.")
    return told


def _sections(folder: Path, captions: Mapping[str, str]) -> list[dict[str, Any]]:
    sections: dict[str, dict[str, Any]] = {}
    for name, caption in captions.items():
        key = next(prefix for prefix in _HEADINGS if name.startswith(prefix))
        data = base64.b64encode((folder / "figures" / f"{name}.png").read_bytes()).decode()
        section = sections.setdefault(key, {"id": key, "heading": _HEADINGS[key], "pictures": []})
        section["pictures"].append({"data": data, "caption": caption})
    return [sections[key] for key in sorted(sections)]


def _table(findings: Findings) -> dict[str, Any]:
    rows = task_rows(findings)
    columns = {
        "task": "task",
        "cluster": "cluster",
        "prompts": "prompts",
        "encoded": "encoded in base",
        "gained": "gained by tuning",
        "noise": "noise floor",
        "verdict": "reading",
        "loss_base": "loss base",
        "loss_tuned": "loss tuned",
        "loss_control": "loss control",
        "drift_mean_cka": "CKA tuned, base",
        "train_rows": "rows trained on",
    }
    shown = {key: name for key, name in columns.items() if any(row[key] not in (None, 0) for row in rows)}
    body = []
    for row in rows:
        cells = []
        for key in shown:
            value = row[key]
            text = "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
            if key in ("encoded", "gained") and value is not None:
                sign = "+" if key == "gained" else ""
                # The jackknife's intervals are symmetric; their half takes less room than both ends.
                text = f"{value:{sign}.3f} ± {(row[f'{key}_high'] - row[f'{key}_low']) / 2:.3f}"
            if key == "verdict" and row["control_learned"] is False:
                text = "control did not learn"
            if key == "task" and row["seen"] is False:
                text += " (unseen)"
            number = isinstance(value, int | float)
            cells.append({"text": text, "sort": value if number else text or -1e9, "number": number})
        body.append(cells)
    return {"columns": list(shown.values()), "rows": body}


def _settings(plan: StudyPlan) -> list[tuple[str, str]]:
    found = [("base model", plan.model), ("tuned model", plan.tuned or "trained here"), ("tasks", plan.tasks.source)]
    if plan.trains:
        t = plan.training
        batches = f"{t.epochs} epochs of batches of {t.batch_size} x {t.accumulate}"
        recipe = f"{t.method}, learning rate {t.learning_rate:g}, {batches}"
        found += [("recipe", recipe), ("held out", ", ".join(plan.held_out) or "none")]
        found.append(("seed", str(t.seed)))
        if plan.controls is None:
            found.append(("control seeds", ", ".join(map(str, t.control_seeds))))
            found.append(("control budget", t.control_budget.replace("_", " ")))
    if plan.controls is not None:
        found.append(("controls", plan.controls))
    found.append(("estimator", plan.estimator))
    return [*found, ("probes", f"{plan.probes.examples_per_task} per task, {plan.probes.token_choice}")]
