"""Intervals of means over tasks, by cluster and for whole curves."""

import numpy as np
import pytest
from scipy import stats

from lightning_layerscope.functional.cluster_intervals import mean_intervals, narrow_note

CLUSTERS = (np.arange(60) // 6).tolist()


def curves(rng, correlation, layers=16, smooth=0.7):
    common = rng.standard_normal((10, layers))[CLUSTERS]
    values = np.sqrt(correlation) * common + np.sqrt(1 - correlation) * rng.standard_normal((60, layers))
    for layer in range(1, layers):
        values[:, layer] = smooth * values[:, layer - 1] + np.sqrt(1 - smooth**2) * values[:, layer]
    return values


def coverage(correlation, *, clusters, simultaneous=False, draws=300):
    held = []
    for seed in range(draws):
        found = mean_intervals(
            curves(np.random.default_rng(seed), correlation), clusters, simultaneous=simultaneous, seed=seed
        )
        inside = (found.low <= 0) & (found.high >= 0)
        held.append(inside.all() if simultaneous else inside.mean())
    return np.mean(held)


def test_independent_tasks_have_the_textbook_interval():
    values = np.random.default_rng(0).standard_normal((12, 3))
    found = mean_intervals(values, confidence=0.95)
    low, high = stats.t.interval(0.95, 11, loc=values.mean(axis=0), scale=stats.sem(values, axis=0))
    np.testing.assert_allclose(found.low, low)
    np.testing.assert_allclose(found.high, high)
    assert not found.by_cluster


@pytest.mark.parametrize("correlation", [0.3, 0.6])
def test_intervals_by_cluster_cover_where_intervals_by_task_do_not(correlation):
    assert coverage(correlation, clusters=CLUSTERS) >= 0.87
    assert coverage(correlation, clusters=None) <= 0.8


def test_a_simultaneous_band_holds_the_whole_curve():
    assert 0.85 <= coverage(0.3, clusters=CLUSTERS, simultaneous=True) <= 0.99
    held = []
    for seed in range(100):
        found = mean_intervals(curves(np.random.default_rng(seed), 0.3), CLUSTERS)
        held.append(((found.low <= 0) & (found.high >= 0)).all())
    assert np.mean(held) <= 0.7


def test_undefined_cells_are_left_out_and_counted():
    values = np.random.default_rng(0).standard_normal((60, 3))
    values[:59, 1] = np.nan
    values[:, 2] = np.nan
    for simultaneous in (False, True):
        found = mean_intervals(values, CLUSTERS, simultaneous=simultaneous)
        assert found.tasks.tolist() == [60, 1, 0]
        assert found.mean[1] == values[59, 1]
        assert np.isnan(found.mean[2])
        assert np.isfinite(found.low[0])
        assert np.isnan(found.low[1:]).all()


def test_few_tasks_and_few_clusters_are_said_to_be_narrow():
    few = mean_intervals(np.random.default_rng(0).standard_normal((12, 2)), [0, 1, 2] * 4)
    assert not few.by_cluster
    assert narrow_note(12, 3, few.by_cluster) == "narrow: 12 tasks in only 3 clusters were taken as independent"
    assert narrow_note(4, 4, by_cluster=False) == "narrow: only 4 tasks"
    assert narrow_note(60, 10, by_cluster=True) == narrow_note(12, 12, by_cluster=False) == ""


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_intervals(np.zeros(3)), r"shape \(tasks, layers\)"),
        (lambda: mean_intervals(np.zeros((3, 2)), [1]), "1 clusters for 3 tasks"),
        (lambda: mean_intervals(np.zeros((3, 2)), confidence=2), "confidence between 0 and 1"),
    ],
)
def test_malformed_input_says_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
