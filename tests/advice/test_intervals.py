import numpy as np
import pytest
from scipy import stats

from lightning_layerscope.advice.intervals import over_tasks_and_seeds
from lightning_layerscope.functional.row_intervals import over_rows


def test_one_group_of_rows_is_students_interval():
    rows = np.random.default_rng(0).normal(size=20)
    found = over_rows([rows], 0.95)
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 19, rows.mean(), stats.sem(rows)))
    assert found.half_width == pytest.approx((found.high - found.low) / 2)


def test_one_seed_leaves_the_interval_over_tasks():
    tasks = np.random.default_rng(1).normal(size=(9, 1))
    found = over_tasks_and_seeds(tasks)
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.9, 8, tasks.mean(), stats.sem(tasks[:, 0])))


def coverage(task, seed, rest, shape=(12, 3), draws=600):
    generator = np.random.default_rng(2)
    hits = 0
    for _ in range(draws):
        differences = (
            task * generator.normal(size=(shape[0], 1))
            + seed * generator.normal(size=(1, shape[1]))
            + rest * generator.normal(size=shape)
        )
        found = over_tasks_and_seeds(differences, 0.9)
        hits += found.low <= 0 <= found.high
    return hits / draws


@pytest.mark.parametrize(("task", "seed", "rest"), [(1, 0, 0.3), (0.3, 1, 0.3), (1, 1, 1), (0, 0, 1)])
def test_covers_the_truth_whatever_varies(task, seed, rest):
    """Nominal .90; with three seeds the interval errs on the wide side, never far on the narrow one."""
    assert coverage(task, seed, rest) > 0.86


def test_ignoring_the_seeds_would_not_cover():
    generator = np.random.default_rng(3)
    hits = 0
    for _ in range(300):
        differences = generator.normal(size=(1, 3)) + 0.3 * generator.normal(size=(12, 3))
        low, high = stats.t.interval(0.9, 11, differences.mean(), stats.sem(differences.mean(axis=1)))
        hits += low <= 0 <= high
    assert hits / 300 < 0.5


def test_a_single_number_has_no_interval():
    assert np.isnan(over_tasks_and_seeds(np.array([[1.0]])).low)


@pytest.mark.parametrize("wrong", [np.ones(3), np.ones((0, 2))])
def test_refuses_what_has_no_tasks_and_seeds(wrong):
    with pytest.raises(ValueError, match=r"\(tasks, seeds\)"):
        over_tasks_and_seeds(wrong)


def test_groups_of_one_row_are_refused():
    with pytest.raises(ValueError, match="at least 2 rows"):
        over_rows([np.ones(1)])
