"""Metrics inside torchmetrics' collections and wrappers."""

import copy

import pytest
import torch
from torchmetrics import ClasswiseWrapper, MetricCollection

from lightning_layerscope import metrics
from tests.metrics import metric_cases as cases

EVERYONE = torch.arange(cases.EXAMPLES)


@pytest.fixture
def same(tolerances):
    def check(found, expected):
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerances.METRIC, check_dtype=False)

    return check


def test_classwise_wrapper_names_the_layers(same):
    case = cases.CASES["LayerwiseCKA"]
    wrapped = ClasswiseWrapper(metrics.LayerwiseCKA(2), labels=["1", "2"], prefix="cka/layer_")
    wrapped.update(**case.rows(EVERYONE))
    found = wrapped.compute()
    assert list(found) == ["cka/layer_1", "cka/layer_2"]
    same(torch.stack(list(found.values())), case.value())


PAIRED = {name: case for name, case in cases.CASES.items() if case.arguments == ("x", "y") and case.layered}


def test_a_collection_shares_rows_and_mixes_nothing_up(same):
    collection = MetricCollection({name: case.make() for name, case in PAIRED.items()})
    for part in EVERYONE.split(20):
        collection.update(**next(iter(PAIRED.values())).rows(part))
    # All keep the same rows: one update serves them all.
    assert len(collection.compute_groups) == 1
    for name, value in collection.compute().items():
        same(value, PAIRED[name].value())
    collection.reset()
    for part in EVERYONE.split(15):
        collection(**next(iter(PAIRED.values())).rows(part))
    for name, value in collection.compute().items():
        same(value, PAIRED[name].value())


def test_a_collection_keeps_different_states_apart(same):
    """Sums of one estimator look like sums of another: their names keep them from being merged wrongly."""
    case = cases.CASES["StreamingCKA"]
    members = {
        "streaming": metrics.StreamingCKA(6, 4),
        "streaming biased": metrics.StreamingCKA(6, 4, "biased"),
        "rows": metrics.LinearCKA(),
        "batches": metrics.MinibatchCKA(),
    }
    collection = MetricCollection(members)
    alone = copy.deepcopy(members)
    for part in EVERYONE.split(15):
        rows = case.rows(part, ids=False)
        collection.update(**rows)
        for metric in alone.values():
            metric.update(**rows)
    found = collection.compute()
    for name, metric in alone.items():
        same(found[name], metric.compute())
    assert sorted(map(sorted, collection.compute_groups.values())) == [
        ["batches"],
        ["rows"],
        ["streaming", "streaming biased"],
    ]


def test_a_collection_of_labelled_and_unlabelled_metrics(same):
    names = ["EffectiveRank", "ScatterRatio", "TaskMeanCosine"]
    collection = MetricCollection({name: cases.CASES[name].make() for name in names})
    collection.update(**cases.CASES["ScatterRatio"].rows(EVERYONE))
    for name, value in collection.compute().items():
        same(value, cases.CASES[name].value())
