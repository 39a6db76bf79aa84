"""The detector on tasks that come in clusters, and on curves that are no ramp."""

import numpy as np
import pytest

from lightning_layerscope import find_transitions
from lightning_layerscope.transitions.samples import mean_samples, statistic_samples

TASKS, CLUSTERS, LAYERS = 60, 10, 32
CLUSTER = np.arange(TASKS) * CLUSTERS // TASKS
X = np.arange(1.0, LAYERS + 1)


def rise(first, last):
    return np.clip((X - first) / (last - first), 0, 1)


def shared(rng, correlation, *shape):
    """Unit variance per task, of which clusters share a part."""
    own, common = rng.standard_normal((TASKS, *shape)), rng.standard_normal((CLUSTERS, *shape))[CLUSTER]
    return np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own


def curves(shape, seed, *, correlation=0.3, change=0.4, noise=0.1):
    """Level, slope, amount of change and noise (AR(1), .7) differ over tasks; layers differ in their noise."""
    rng = np.random.default_rng(seed)
    wiggle = shared(rng, correlation, LAYERS)
    for layer in range(1, LAYERS):
        wiggle[:, layer] = 0.7 * wiggle[:, layer - 1] + np.sqrt(0.51) * wiggle[:, layer]
    level = 0.5 + 0.1 * shared(rng, correlation, 1) + 0.05 * shared(rng, correlation, 1) * X / LAYERS
    amount = change * (1 + 0.4 * shared(rng, correlation, 1))
    return level + amount * shape + noise * rng.uniform(0.5, 1.5, LAYERS) * wiggle


def cut(values, **options):
    return find_transitions(values, clusters=CLUSTER.tolist(), **{"resamples": 1, **options})


def named(shape, draws=12, **options):
    return [cut(curves(shape, seed, **options)) for seed in range(draws)]


def test_a_dip_that_ends_in_a_nearly_flat_part_is_cut_where_it_rises_again():
    dip = -np.clip((X - 1) / 7, 0, 1) + rise(8, 15) - 0.1 * rise(15, 32)
    found = named(dip)
    near = [f.found and abs(f.start - 9) <= 1 and abs(f.end - 15) <= 1 for f in found]
    assert np.mean(near) >= 0.9
    assert {f.shape for f in found if f.found} == {"two bends"}


@pytest.mark.parametrize(
    "hump", [rise(9, 12) - rise(18, 21), (X > 9) * 1.0 - (X > 15), rise(9, 12) - rise(12, 15)], ids=str
)
def test_a_curve_that_is_back_at_its_old_level_has_no_transition(hump):
    assert not any(f.found for f in named(hump, 6))


def test_two_separate_changes_are_not_one_transition():
    found = named(0.5 * rise(5, 9) + 0.5 * rise(19, 23), noise=0.05)
    assert not any(f.found for f in found)
    told = [f.reason for f in found if f.shape == "two changes"]
    assert len(told) >= 10
    assert all("changes twice, at layers " in reason for reason in told)


def test_a_smaller_change_beside_a_larger_one_is_seen_or_said_to_be_possible():
    found = named(0.3 * rise(5, 9) + 0.7 * rise(19, 23))
    twice, noted = ([f for f in found if told(f)] for told in (lambda f: f.shape == "two changes", lambda f: f.notes))
    assert len(twice) >= 6
    assert len(twice) + len([f for f in noted if "a second change at layer " in f.notes[-1]]) >= 10
    alone = named(rise(9, 15), 24)
    assert sum(any("second change" in note for note in f.notes) for f in alone) <= 4
    assert sum(f.shape == "two changes" for f in alone) <= 2


@pytest.mark.parametrize("shape", [rise(9, 15), (X > 12) * 1.0, 0.5 * (X > 9) + 0.5 * (X > 15)], ids=str)
def test_rounding_in_curves_without_noise_is_no_second_change(shape):
    found = cut(np.tile(shape, (TASKS, 1)))
    assert found.found
    assert not found.notes


def test_three_levels_are_named_only_where_the_middle_lies_between():
    between = cut(curves(0.5 * (X > 9) + 0.5 * (X > 15), 0, noise=0.02))
    assert (between.shape, between.start, between.end) == ("three levels", 10, 15)
    assert not cut(curves(1.0 * (X > 9) - 0.5 * (X > 15), 0, noise=0.02)).found


def test_curves_that_wander_alike_in_all_tasks_name_a_transition_rarely():
    walks = [np.cumsum(np.random.default_rng(seed).standard_normal(LAYERS)) / np.sqrt(LAYERS) for seed in range(24)]
    found = [cut(curves(walk, seed)) for seed, walk in enumerate(walks)]
    assert np.mean([f.found for f in found]) <= 0.2
    assert any("no shape describes the curve" in f.reason for f in found)


@pytest.mark.parametrize("kind", ["flat", "line", "walk"])
def test_what_clusters_share_by_chance_is_no_transition(kind):
    found = []
    for seed in range(20):
        shape = {"flat": 0 * X, "line": X / LAYERS}.get(kind)
        if shape is None:
            shape = np.cumsum(shared(np.random.default_rng(seed + 100), 0.7, LAYERS), axis=1) / np.sqrt(LAYERS)
        found.append(cut(curves(shape, seed, correlation=0.7)).found)
    assert sum(found) <= 1


def test_intervals_hold_the_boundaries_also_where_tasks_come_in_clusters():
    found = [cut(curves(rise(9, 15), seed, correlation=0.8), resamples=200) for seed in range(24)]
    found = [f for f in found if f.found]
    assert len(found) >= 20
    for side, true in (("start_interval", 10), ("end_interval", 15)):
        spans = [getattr(f, side) for f in found]
        assert np.mean([low <= true <= high for low, high in spans]) >= 0.85
        assert np.mean([high - low for low, high in spans]) < 10
    alone = [find_transitions(curves(rise(9, 15), seed, correlation=0.8), resamples=200) for seed in range(8)]
    assert np.mean([f.start_interval[1] - f.start_interval[0] for f in alone if f.found]) < np.mean(
        [f.start_interval[1] - f.start_interval[0] for f in found]
    )


def test_intervals_reach_over_layers_that_were_not_measured():
    every = list(range(4, 33, 4))
    for seed in range(4):
        found = cut(curves(rise(9, 15), seed, noise=0.02)[:, 3::4], layers=every)
        assert found.start in every
        assert found.start_interval[0] <= 10 <= found.start_interval[1]
        assert found.end_interval[0] <= 15 <= found.end_interval[1]
        assert found.start_interval[1] - found.start_interval[0] >= 3


def test_single_missing_cells_cost_no_task():
    for seed in range(4):
        values = curves(rise(9, 15), seed, noise=0.05)
        values[np.random.default_rng(seed).random(values.shape) < 0.06] = np.nan
        found = cut(values)
        assert (found.tasks, found.clusters) == (TASKS, CLUSTERS)
        assert abs(found.start - 10) <= 1
        assert abs(found.end - 15) <= 1
        assert "filled in from their neighbouring layers" in found.notes[0]


def test_a_last_layer_of_its_own_does_not_hide_the_transition():
    values = curves(rise(9, 15), 0, noise=0.02)
    values[:, -1] -= 0.3
    found = cut(values)
    assert (found.start, found.end) == (10, 15)
    assert found.notes == ("layer 32 does not follow the curve and was left out of the fit",)
    assert found.refinement[-1] == 32


def test_fewer_than_six_clusters_are_not_resampled_and_that_is_said():
    values = curves(rise(9, 15), 0)
    few = find_transitions(values, clusters=(CLUSTER // 2).tolist())
    assert few.clusters == 0
    assert few.notes == ("only 5 clusters, so that tasks were halved and resampled: the intervals are narrow",)
    assert find_transitions(values, clusters=list(range(TASKS))) == find_transitions(values)
    with pytest.raises(ValueError, match="one cluster per row, got 3 clusters for 60 rows"):
        find_transitions(values, clusters=[1, 2, 3])


def test_samples_of_the_mean_are_those_of_any_statistic():
    values = curves(rise(9, 15), 0)
    options = {"resamples": 20, "confidence": 0.9, "seed": 3}
    fast = mean_samples(values, CLUSTER, **options)
    slow = statistic_samples(values, CLUSTER, lambda some: some.mean(axis=-2), **options)
    for name in ("curve", "one", "two", "resampled"):
        np.testing.assert_allclose(getattr(fast, name), getattr(slow, name), atol=1e-12)
