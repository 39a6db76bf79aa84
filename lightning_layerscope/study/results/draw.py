"""Which of the paper's figures a study has, and what they show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lightning_layerscope.functional.multiplicity import expected_by_chance
from lightning_layerscope.study.results import figures, projection
from lightning_layerscope.study.results.statistics import Correlations
from lightning_layerscope.study.results.study_results import StudyResults

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(
    results: StudyResults,
    correlations: Correlations,
    map_layers: Sequence[int],
) -> Iterator[tuple[str, Figure, str]]:
    """Name, figure and caption of the paper's figures 2 to 7, as far as the study has what they show."""
    layers, clusters = results.layers, dict(zip(results.names, results.clusters, strict=True))
    what = "CKA with the control" if results.has_controls else "CKA with the base model"
    for name, group, words in (("figure2_layers", results.seen, "seen"), ("figure7_unseen", results.unseen, "unseen")):
        if group:
            title = f"{what}, {len(group)} {words + ' ' if results.trained_here else ''}tasks"
            figure = figures.boxes_per_layer(results.values(group), layers, title=title, ylabel=what)
            yield name, figure, f"{title}: distribution over tasks per layer (box: quartiles, line: median)."
    figure = figures.curves_per_cluster(results.values(), layers, results.clusters, ylabel=what)
    yield "figure3_clusters", figure, f"{what}, mean over each cluster's tasks (their number in brackets)."
    wanted = projection.layers_to_map(layers, map_layers)
    for method in ("t-SNE", "PCA"):
        for role, samples in results.samples.items():
            points = {layer: projection.plane(samples, layers.index(layer), method=method) for layer in wanted}
            figure = figures.task_maps(points, projection.clusters_of(samples, clusters), method=f"{method}, {role}")
            caption = f"{method} of {projection.PER_TASK} prompts of every task, {role} model, coloured by cluster."
            yield f"figure4_map_{role}_{method.lower().replace('-', '')}", figure, caption
    counts = results.components()
    if counts:
        limits = [min(facts.width, (facts.component_rows or 1) - 1) for facts in results.measured["base"].values()]
        figure = figures.components_per_layer(counts, layers, limit=float(np.mean(limits)))
        yield "figure5_components", figure, "Principal components that hold 99 % of the variance, mean over tasks."
    if any(np.isfinite(values).any() for by_role in correlations.values.values() for values in by_role.values()):
        figure = figures.correlations_per_layer(correlations.values, correlations.adjusted, layers)
        pvalues = [values for by_role in correlations.pvalues.values() for values in by_role.values()]
        plain = np.concatenate(pvalues)
        caption = (
            f"Pearson correlation over tasks of {what}; points: p < .05, adjusted for {plain.size} tests. Without "
            f"that {int((plain < 0.05).sum())} are below .05; chance alone gives {expected_by_chance(plain, 0.05):.1f}."
        )
        yield "figure6_correlations", figure, caption
