"""Alerts: planted findings are found, and where there are none hardly ever given, however often one looks."""

import numpy as np
import pytest

from lightning_layerscope.functional.interval import Interval
from lightning_layerscope.functional.multiplicity import level_of_look
from lightning_layerscope.monitor.judging import collapsed_layers, loss_change

TASKS = [f"t{task}" for task in range(6)]
CLUSTERS = dict.fromkeys(TASKS, "retention")


def losses(values):
    return {f"retention/loss/{task}": rows for task, rows in zip(TASKS, values, strict=True)}


def test_the_levels_of_all_looks_together_are_the_level():
    assert sum(level_of_look(look, 0.01) for look in range(1, 10_000)) == pytest.approx(0.01, rel=1e-3)
    with pytest.raises(ValueError, match="a look from 1 on"):
        level_of_look(0, 0.01)


def test_the_change_is_paired_over_prompts():
    before = np.random.default_rng(0).gamma(2, 2, (6, 32))
    change = loss_change(losses(before), losses(before + 0.1), look=3)
    assert change[""].value == pytest.approx(0.1)
    assert change[""].low == pytest.approx(0.1)  # the prompts differ by far more than that
    assert loss_change(losses(before), losses(before), look=1)[""] == Interval(0.0, 0.0, 0.0)
    assert loss_change({}, losses(before), look=1) == {}


@pytest.mark.parametrize("walk", [True, False], ids=["random walk", "anew each time"])
def test_without_forgetting_hardly_any_run_gives_the_alert(walk):
    """100 runs of 20 looks; losses of single prompts move a lot, and with heavy tails, their mean does not."""
    generator, runs, told = np.random.default_rng(1), 100, 0
    for _ in range(runs):
        before = generator.gamma(2, 2, (6, 32))
        moves = generator.standard_t(4, (20, 6, 32)) * 0.2
        moves = moves.cumsum(axis=0) if walk else moves
        told += any(
            loss_change(losses(before), losses(before + move), look=look)[""].above_zero
            for look, move in enumerate(moves, start=1)
        )
    assert told / runs <= 1 / 50


def test_a_plain_interval_at_every_look_would_give_it_often():
    generator, told = np.random.default_rng(1), 0
    for _ in range(40):
        before = generator.gamma(2, 2, (6, 32))
        moves = generator.standard_t(4, (20, 6, 32)).cumsum(axis=0)
        told += any(
            loss_change(losses(before), losses(before + move), look=1, level=0.05)[""].above_zero for move in moves
        )
    assert told > 4


def test_a_collapsed_layer_is_named_and_no_other():
    generator = np.random.default_rng(0)
    before = {task: generator.uniform(15, 25, 5) for task in TASKS}
    now = {task: each * generator.uniform(0.8, 1.2, 5) for task, each in before.items()}
    for each in now.values():
        each[2] = 1.5
        each[4] = np.nan  # states that do not vary at all
    assert collapsed_layers(before, now, CLUSTERS, look=20) == [False, False, True, False, True]
    few = dict(list(now.items())[:3])
    assert collapsed_layers(before, few, CLUSTERS, look=20) == []


def test_layers_that_lose_less_than_half_are_hardly_ever_named():
    """300 runs of 20 looks at 12 layers that all lie at .55 of their beginning on average, and scatter over tasks."""
    generator, told = np.random.default_rng(2), 0
    before = {task: np.full(12, 20.0) for task in TASKS}
    for _ in range(300):
        told += any(
            any(collapsed_layers(before, _scattered(generator, 0.55), CLUSTERS, look=look)) for look in range(1, 21)
        )
    assert told / 300 <= 1 / 50


def _scattered(generator, ratio):
    return {task: 20 * ratio * np.exp(generator.normal(0, 0.3, 12)) for task in TASKS}
