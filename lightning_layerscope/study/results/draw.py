"""Which of the paper's figures a study has, and what they show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lightning_layerscope.charts import Words, study
from lightning_layerscope.charts.rows import Row, plain
from lightning_layerscope.functional.multiplicity import expected_by_chance
from lightning_layerscope.study.results import projection
from lightning_layerscope.study.results.statistics import Correlations
from lightning_layerscope.study.results.study_results import StudyResults
from lightning_layerscope.study.results.table import judged_tasks
from lightning_layerscope.wording import count

if TYPE_CHECKING:
    import altair as alt

METHODS = ("t-SNE", "PCA")


def draw(
    results: StudyResults,
    correlations: Correlations,
    map_layers: Sequence[int],
) -> Iterator[tuple[str, alt.TopLevelMixin, str]]:
    """Name, chart and caption of the paper's figures 2 to 7, as far as the study has what they show."""
    what = "CKA with the control" if results.has_controls else "CKA with the base model"
    groups = {
        "figure2_layers": (results.seen, "seen ", ""),
        "figure2_specialists": (judged_tasks(results), "seen ", " whose control is a specialist"),
        "figure7_unseen": (results.unseen, "unseen ", ""),
    }
    for name, (group, kind, which) in groups.items():
        if group:
            title = f"{what}, {count(len(group), (kind if results.trained_here else '') + 'task')}{which}"
            chart = study.boxes_per_layer(_values(results, group), Words(title, value=what))
            yield name, chart, f"{title}: distribution over tasks per layer (box: quartiles, line: median)."
    chart = study.curves_per_cluster(_values(results), Words(f"{what}, mean over each cluster's tasks", value=what))
    yield "figure3_clusters", chart, f"{what}, mean over each cluster's tasks (their number in brackets)."
    yield from _maps(results, map_layers)
    if counts := results.components():
        limits = [min(facts.width, (facts.component_rows or 1) - 1) for facts in results.measured["base"].values()]
        title = "Principal components for 99 % of the variance, mean over tasks"
        rows = study.value_rows(counts, results.layers, results.names, results.clusters)
        chart = study.components_per_layer(rows, Words(title, value="components"), limit=float(np.mean(limits)))
        yield "figure5_components", chart, "Principal components that hold 99 % of the variance, mean over tasks."
    if any(np.isfinite(values).any() for by_role in correlations.values.values() for values in by_role.values()):
        pvalues = [values for by_role in correlations.pvalues.values() for values in by_role.values()]
        tests = np.concatenate(pvalues)
        below = f"points: p < .05, adjusted for {tests.size} tests"
        words = Words(f"{what}: what it goes with", below, value="Pearson correlation over tasks")
        caption = (
            f"Pearson correlation over tasks of {what}; points: p < .05, adjusted for {tests.size} tests. Without "
            f"that {int((tests < 0.05).sum())} are below .05; chance alone gives {expected_by_chance(tests, 0.05):.1f}."
        )
        chart = study.correlations_per_layer(_correlations(correlations, results.layers), words)
        yield "figure6_correlations", chart, caption


def _values(results: StudyResults, tasks: Sequence[str] | None = None) -> list[Row]:
    names = results.names if tasks is None else tasks
    clusters = dict(zip(results.names, results.clusters, strict=True))
    return study.value_rows(results.values(tasks), results.layers, names, [clusters[name] for name in names])


def _maps(results: StudyResults, map_layers: Sequence[int]) -> Iterator[tuple[str, alt.TopLevelMixin, str]]:
    layers, clusters = results.layers, dict(zip(results.names, results.clusters, strict=True))
    wanted = projection.layers_to_map(layers, map_layers)
    for method in METHODS:
        for role, samples in results.samples.items():
            tasks = projection.tasks_of(samples)
            points = [
                {"layer": layer, "x": plain(x), "y": plain(y), "cluster": clusters[task], "task": task}
                for layer in wanted
                for task, (x, y) in zip(
                    tasks, projection.plane(samples, layers.index(layer), method=method), strict=True
                )
            ]
            chart = study.task_maps(points, Words(f"Prompts by cluster ({method}, {study.MODELS.get(role, role)})"))
            caption = f"{method} of {projection.PER_TASK} prompts of every task, {role} model, coloured by cluster."
            yield f"figure4_map_{role}_{method.lower().replace('-', '')}", chart, caption


def _correlations(correlations: Correlations, layers: Sequence[int]) -> list[Row]:
    return [
        {
            "covariate": covariate,
            "model": study.MODELS.get(role, role),
            "layer": layer,
            "value": plain(value),
            "p": plain(p),
        }
        for covariate, by_role in correlations.values.items()
        for role, values in by_role.items()
        for layer, value, p in zip(layers, values, correlations.adjusted[covariate][role], strict=True)
    ]
