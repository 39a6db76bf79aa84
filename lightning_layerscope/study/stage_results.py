"""Stage ``results``: profiles, transitions, correlations, figures, table and report of the whole study."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lightning_layerscope.study import figures, maps
from lightning_layerscope.study.controls import CONTROLS, index_controls
from lightning_layerscope.study.covariates import correlate
from lightning_layerscope.study.gather import Array, Findings, components, covariates, gather
from lightning_layerscope.study.graph import measures_control
from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.store import Stage, Store
from lightning_layerscope.study.table import markdown, task_rows
from lightning_layerscope.transitions import Transition, find_transitions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUMMARY, TABLE, REPORT = "summary.json", "table.md", "report.html"


def write_results(stage: Stage, store: Store, folder: Path, plan: StudyPlan) -> None:
    """Put all comparisons together.

    Args:
        stage: ``results``.
        store: Of the study.
        folder: Gets ``profiles/*.parquet``, ``tasks.csv``, ``table.md``, ``transitions.json``, ``correlations.csv``,
            ``figures/*.png``, ``summary.json``, ``report.html`` and, where controls were trained, their index
            ``controls/controls.json``.
        plan: The study's plan.
    """
    from lightning_layerscope.study.report import write_report

    findings = gather(stage, store)
    for role, profile in findings.profiles.items():
        profile.to_parquet(folder / "profiles" / f"{role}.parquet")
    pd.DataFrame(task_rows(findings)).to_csv(folder / "tasks.csv", index=False)
    (folder / TABLE).write_text(markdown(findings), encoding="utf-8")
    cuts = transitions(findings, plan.confidence)
    (folder / "transitions.json").write_text(
        json.dumps({name: cut.to_dict() for name, cut in cuts.items()}, indent=1), encoding="utf-8"
    )
    correlations, pvalues = correlate(findings.values(), covariates(findings))
    _correlation_rows(correlations, pvalues, findings.layers).to_csv(folder / "correlations.csv", index=False)
    pictures = {}
    (folder / "figures").mkdir()
    for name, figure, caption in draw(findings, plan, correlations, pvalues):
        figure.savefig(folder / "figures" / f"{name}.png")
        pictures[name] = caption
    summary = summarise(findings, cuts) | {"figures": pictures, "name": plan.name}
    (folder / SUMMARY).write_text(json.dumps(summary, indent=1), encoding="utf-8")
    write_report(findings, cuts, summary, plan, folder)
    index_controls(stage.needs, store, folder / CONTROLS, plan)
    if plan.wandb is not None:
        from lightning_layerscope.sinks.wandb_study import log_study

        banks = {
            need.name: store.folder(need) / "bank"
            for comparison in stage.needs
            for need in comparison.needs
            if need.kind == "states" and not measures_control(need)
        }
        log_study(
            folder,
            project=plan.wandb.project,
            entity=plan.wandb.entity,
            mode=plan.wandb.mode,
            group=plan.name,
            run_id=f"results-{stage.fingerprint[:16]}",
            config={"role": "results", "study": plan.name, "plan": plan.model_dump(mode="json", exclude={"wandb"})},
            banks=banks,
            stages=store.stages,
        )


def transitions(findings: Findings, confidence: float) -> dict[str, Transition]:
    """The cuts of every curve: both models against the control, on seen and on unseen tasks, and the drift."""
    cuts = {}
    against = "single-task control" if findings.has_controls else "base"
    seen = [name for name in findings.names if name in findings.trained]
    groups = {"": seen or findings.names, "unseen": [name for name in findings.names if name not in seen]}
    for group, names in groups.items():
        if not names:
            continue
        for role, values in findings.values(names).items():
            signal = f"{role} against {against} (cka){', unseen tasks' if group else ''}"
            key = f"{role} {group}".strip()
            cuts[key] = find_transitions(values, signal=signal, confidence=confidence, layers=findings.layers)
    if findings.has_controls:
        drift = findings.profiles["drift"].matrix()
        cuts["drift"] = find_transitions(
            drift, signal=f"drift of {findings.tuned} from base (cka)", confidence=confidence, layers=findings.layers
        )
    return cuts


def draw(
    findings: Findings,
    plan: StudyPlan,
    correlations: dict[str, dict[str, Array]],
    pvalues: dict[str, dict[str, Array]],
) -> Iterator[tuple[str, Figure, str]]:
    """Name, figure and caption of the paper's figures 2 to 7, as far as the study has what they show."""
    layers, clusters = findings.layers, dict(zip(findings.names, findings.clusters, strict=True))
    what = "CKA with the control" if findings.has_controls else "CKA with the base model"
    seen = [name for name in findings.names if name in findings.trained] or findings.names
    unseen = [name for name in findings.names if name not in seen]
    for name, group, words in (("figure2_layers", seen, "seen"), ("figure7_unseen", unseen, "unseen")):
        if group:
            title = f"{what}, {len(group)} {words + ' ' if findings.trained_here else ''}tasks"
            figure = figures.boxes_per_layer(findings.values(group), layers, title=title, ylabel=what)
            yield name, figure, f"{title}: distribution over tasks per layer (box: quartiles, line: median)."
    figure = figures.curves_per_cluster(findings.values(), layers, findings.clusters, ylabel=what)
    yield "figure3_clusters", figure, f"{what}, mean over each cluster's tasks (their number in brackets)."
    wanted = maps.layers_to_map(layers, plan.map_layers)
    for method in ("t-SNE", "PCA"):
        for role, samples in findings.samples.items():
            points = {layer: maps.plane(samples, layers.index(layer), method=method) for layer in wanted}
            figure = figures.task_maps(points, maps.clusters_of(samples, clusters), method=f"{method}, {role}")
            caption = f"{method} of {maps.PER_TASK} prompts of every task, {role} model, coloured by cluster."
            yield f"figure4_map_{role}_{method.lower().replace('-', '')}", figure, caption
    counts = components(findings)
    if counts:
        limits = [min(facts["width"], facts["component_rows"] - 1) for facts in findings.measured["base"].values()]
        figure = figures.components_per_layer(counts, layers, limit=float(np.mean(limits)))
        yield "figure5_components", figure, "Principal components that hold 99 % of the variance, mean over tasks."
    if any(np.isfinite(values).any() for by_role in correlations.values() for values in by_role.values()):
        figure = figures.correlations_per_layer(correlations, pvalues, layers)
        tests = sum(values.size for by_role in pvalues.values() for values in by_role.values())
        caption = f"Pearson correlation over tasks of {what}; points: p < .05, uncorrected for {tests} tests."
        yield "figure6_correlations", figure, caption


def summarise(findings: Findings, cuts: dict[str, Transition]) -> dict[str, Any]:
    """The study in numbers."""
    rows = task_rows(findings)
    verdicts: dict[str, int] = {}
    for row in rows:
        if row["verdict"] and row["control_learned"] is not False:
            verdicts[row["verdict"]] = verdicts.get(row["verdict"], 0) + 1
    curves = {
        role: {
            "mean": _plain(profile.mean_curve()["value"].to_numpy()),
            "median": _plain(np.nanmedian(profile.matrix(), axis=0)),
        }
        for role, profile in findings.profiles.items()
    }
    return {
        "tasks": len(rows),
        "clusters": len(set(findings.clusters)),
        "unseen_tasks": sum(row["seen"] is False for row in rows),
        "layers": findings.layers,
        "curves": curves,
        "verdicts": verdicts,
        "not_learned": [row["task"] for row in rows if row["control_learned"] is False],
        "transitions": {name: cut.describe() for name, cut in cuts.items()},
    }


def _correlation_rows(
    correlations: dict[str, dict[str, Array]], pvalues: dict[str, dict[str, Array]], layers: list[int]
) -> pd.DataFrame:
    rows = [
        (covariate, role, layer, value, pvalue)
        for covariate, by_role in correlations.items()
        for role, values in by_role.items()
        for layer, value, pvalue in zip(layers, values, pvalues[covariate][role], strict=True)
    ]
    frame: pd.DataFrame = pd.DataFrame(rows, columns=["covariate", "role", "layer", "correlation", "pvalue"])
    return frame


def _plain(values: Array) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
