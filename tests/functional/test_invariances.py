"""The table of invariances: what every measure must not feel, and what it must.

A measure of two sides is asked about each side alone: x is transformed and y is not, and the other way round.
"""

from functools import partial

import pytest
import torch

from lightning_layerscope.functional import (
    components_for_variance,
    covariance_overlap,
    effective_rank,
    knn_purity,
    linear_cka,
    linear_predictivity,
    mean_noise,
    mutual_knn,
    participation_ratio,
    procrustes_distance,
    procrustes_similarity,
    rbf_cka,
    rsa,
    scatter_ratio,
    silhouette,
    specialist_cka,
    svcca,
    task_mean_cosine,
)

TRANSFORMATIONS = ("rotation", "scaling", "translation", "invertible", "permutation")
# of the width, one factor for all, one offset for all examples, any invertible linear map, dimensions reordered
USUAL = (True, True, True, False, True)

PAIRS = {
    "linear_cka": (linear_cka, USUAL),
    "linear_cka biased": (partial(linear_cka, estimator="biased"), USUAL),
    "rbf_cka": (rbf_cka, USUAL),
    "rbf_cka biased": (partial(rbf_cka, estimator="biased"), USUAL),
    "svcca": (partial(svcca, variance=0.9), USUAL),
    "svcca of everything": (partial(svcca, variance=1.0), (True, True, True, True, True)),
    "procrustes_similarity": (procrustes_similarity, USUAL),
    "procrustes_distance": (procrustes_distance, USUAL),
    "rsa spearman": (rsa, USUAL),
    "rsa pearson": (partial(rsa, correlation="pearson"), USUAL),
    "rsa of correlations": (partial(rsa, dissimilarity="correlation"), (False, True, False, False, True)),
    "mutual_knn": (partial(mutual_knn, k=5), USUAL),
    "mutual_knn euclidean": (partial(mutual_knn, k=5, distance="euclidean"), USUAL),
    "linear_predictivity": (linear_predictivity, USUAL),
    "specialist_cka": (lambda x, y: specialist_cka([x, y])[..., 0, 1], USUAL),
}
SINGLES = {
    "effective_rank": (effective_rank, USUAL),
    "participation_ratio": (participation_ratio, USUAL),
    "components_for_variance": (partial(components_for_variance, variance=0.9, interpolate=True), USUAL),
}
LABELLED = {
    "scatter_ratio": (scatter_ratio, USUAL),
    "knn_purity": (partial(knn_purity, k=5), USUAL),
    "silhouette": (silhouette, USUAL),
    "task_mean_cosine": (
        lambda x, t: task_mean_cosine(
            torch.stack([x[:, t == i].mean(1) for i in range(3)], 1),
            torch.stack([mean_noise(x[:, t == i]) for i in range(3)], 1),
        ),
        USUAL,
    ),
    "covariance_overlap": (lambda x, t: covariance_overlap([x[:, t == i] for i in range(3)]), USUAL),
}


def transformed(x: torch.Tensor, name: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    width = x.shape[-1]
    if name == "rotation":
        return x @ torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=x.dtype)).Q
    if name == "scaling":
        return 37.0 * x
    if name == "translation":
        return x + 10 * torch.randn(width, generator=generator, dtype=x.dtype)
    if name == "invertible":
        # Well conditioned, but far from a rotation: strengths from 1 to 9.
        rotation = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=x.dtype)).Q
        return x @ rotation * torch.linspace(1, 9, width, dtype=x.dtype)
    return x[..., torch.randperm(width, generator=generator)]


def rows(table):
    return [
        pytest.param(
            measure, transformation, holds, id=f"{name}-{transformation}-{'holds' if holds else 'must not hold'}"
        )
        for name, (measure, table_row) in table.items()
        for transformation, holds in zip(TRANSFORMATIONS, table_row, strict=True)
    ]


def check(before: torch.Tensor, after: torch.Tensor, holds: bool, tolerances) -> None:
    change = float((before - after).abs().max())
    assert change < tolerances.INVARIANT if holds else change > tolerances.FELT, change


@pytest.mark.parametrize(("measure", "transformation", "holds"), rows(PAIRS))
@pytest.mark.parametrize("side", ["x", "y"])
def test_two_sides(measure, transformation, holds, side, related, tolerances):
    x, y = related
    arguments = (transformed(x, transformation), y) if side == "x" else (x, transformed(y, transformation))
    check(measure(x, y), measure(*arguments), holds, tolerances)


@pytest.mark.parametrize(("measure", "transformation", "holds"), rows(SINGLES))
def test_one_side(measure, transformation, holds, related, tolerances):
    x, _ = related
    check(measure(x), measure(transformed(x, transformation)), holds, tolerances)


@pytest.mark.parametrize(("measure", "transformation", "holds"), rows(LABELLED))
def test_one_side_with_tasks(measure, transformation, holds, clustered, tolerances):
    x, labels = clustered
    check(measure(x, labels), measure(transformed(x, transformation), labels), holds, tolerances)


def test_covariance_overlap_ignores_every_tasks_own_scale_and_offset(clustered, tolerances):
    x, labels = clustered
    states = [x[:, labels == task] for task in range(3)]
    moved = [(task + 2) * state - 5 * task for task, state in enumerate(states)]
    check(covariance_overlap(states), covariance_overlap(moved), True, tolerances)
