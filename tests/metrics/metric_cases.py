"""One case per metric: how it is made, what it is updated with, and the function it must agree with.

Loaded by path, by the tests and by the processes that ``test_distributed.py`` starts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_layerscope import functional, metrics

EXAMPLES = 45


def examples() -> dict[str, Tensor]:
    """The whole data set: two layers of related sides with an offset, three tasks, ids in no particular order."""
    generator = torch.Generator().manual_seed(0)
    labels = (torch.arange(EXAMPLES) % 3)[torch.randperm(EXAMPLES, generator=generator)]
    means = torch.randn(2, 3, 6, generator=generator)
    x = means[:, labels] + torch.randn(2, EXAMPLES, 6, generator=generator) + 20
    y = x[..., :4].tanh() + x[..., 2:] / 20 + 0.5 * torch.randn(2, EXAMPLES, 4, generator=generator)
    ids = 1000 + 7 * torch.randperm(EXAMPLES, generator=generator)
    return {"x": x, "y": y, "labels": labels, "ids": ids}


@dataclass(frozen=True)
class Case:
    """``expected`` takes the arguments in the order of ``update``; ``layered`` says whether they have a layer axis."""

    make: Callable[..., Any]
    arguments: tuple[str, ...]
    expected: Callable[..., Tensor]
    layered: bool = True
    takes_ids: bool = True

    def whole(self) -> dict[str, Tensor]:
        """The arguments for all examples."""
        data = examples()
        return {
            name: data[name] if self.layered or data[name].ndim == 1 else data[name][0] for name in self.arguments
        } | ({"ids": data["ids"]} if self.takes_ids else {})

    def rows(self, positions: Tensor, ids: bool = True) -> dict[str, Tensor]:
        """The arguments for the examples at ``positions``."""
        return {
            name: value[positions] if value.ndim == 1 else value[..., positions, :]
            for name, value in self.whole().items()
            if ids or name != "ids"
        }

    def value(self) -> Tensor:
        """What the function says."""
        arguments = self.whole()
        return self.expected(*(arguments[name] for name in self.arguments))


def by_task(x: Tensor, labels: Tensor) -> list[Tensor]:
    return [x[..., labels == task, :] for task in range(3)]


def task_means(x: Tensor, labels: Tensor) -> Tensor:
    return torch.stack([state.double().mean(dim=-2) for state in by_task(x, labels)], dim=-2)


def matrix(x: Tensor, y: Tensor) -> Tensor:
    return functional.cka_layer_matrix(functional.centered_gram(x), functional.centered_gram(y))


PAIR, ONE, TASKS = ("x", "y"), ("x",), ("x", "labels")
CASES = {
    "LinearCKA": Case(metrics.LinearCKA, PAIR, functional.linear_cka),
    "LinearCKA biased": Case(
        lambda: metrics.LinearCKA("biased"), PAIR, lambda x, y: functional.linear_cka(x, y, "biased"), layered=False
    ),
    "LayerwiseCKA": Case(lambda: metrics.LayerwiseCKA(2), PAIR, functional.linear_cka),
    "LayerCKAMatrix": Case(lambda: metrics.LayerCKAMatrix(2), PAIR, matrix),
    "StreamingCKA": Case(lambda: metrics.StreamingCKA(6, 4), PAIR, functional.linear_cka, layered=False),
    "StreamingCKA biased": Case(
        lambda: metrics.StreamingCKA(6, 4, "biased"),
        PAIR,
        lambda x, y: functional.linear_cka(x, y, "biased"),
        layered=False,
    ),
    "RBFCKA": Case(metrics.RBFCKA, PAIR, functional.rbf_cka),
    "SVCCA": Case(lambda: metrics.SVCCA(0.9), PAIR, lambda x, y: functional.svcca(x, y, 0.9)),
    "ProcrustesSimilarity": Case(metrics.ProcrustesSimilarity, PAIR, functional.procrustes_similarity),
    "ProcrustesDistance": Case(metrics.ProcrustesDistance, PAIR, functional.procrustes_distance),
    "RSA": Case(metrics.RSA, PAIR, functional.rsa),
    "RSA pearson": Case(
        lambda: metrics.RSA("pearson"), PAIR, lambda x, y: functional.rsa(x, y, "pearson"), layered=False
    ),
    "MutualKNN": Case(lambda: metrics.MutualKNN(5), PAIR, lambda x, y: functional.mutual_knn(x, y, 5)),
    "LinearPredictivity": Case(metrics.LinearPredictivity, PAIR, functional.linear_predictivity),
    "EffectiveRank": Case(metrics.EffectiveRank, ONE, functional.effective_rank),
    "ParticipationRatio": Case(metrics.ParticipationRatio, ONE, functional.participation_ratio, layered=False),
    "ComponentsForVariance": Case(metrics.ComponentsForVariance, ONE, functional.components_for_variance),
    "ScatterRatio": Case(metrics.ScatterRatio, TASKS, functional.scatter_ratio),
    "KNNPurity": Case(lambda: metrics.KNNPurity(3), TASKS, lambda x, t: functional.knn_purity(x, t, 3)),
    "Silhouette": Case(metrics.Silhouette, TASKS, functional.silhouette, layered=False),
    "TaskMeanCosine": Case(
        lambda: metrics.TaskMeanCosine(3),
        TASKS,
        lambda x, t: functional.task_mean_cosine(
            task_means(x, t), torch.stack([functional.mean_noise(each) for each in by_task(x, t)], dim=-1)
        ),
    ),
    "CovarianceOverlap": Case(
        lambda: metrics.CovarianceOverlap(3),
        TASKS,
        lambda x, t: functional.covariance_overlap(by_task(x, t)),
        layered=False,
    ),
    "SpecialistCKA": Case(lambda: metrics.SpecialistCKA(2), ONE, lambda x: functional.specialist_cka(list(x))),
}
# Not a function of all examples but of the batches; its tests are in test_minibatch_metric.py.
BY_BATCH = {"MinibatchCKA": lambda: metrics.MinibatchCKA(num_layers=2)}
