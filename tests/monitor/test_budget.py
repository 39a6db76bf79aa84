import pytest

from lightning_layerscope.monitor.budget import Budget


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def measure(budget, clock, seconds, *, forced=False):
    with budget.measuring(forced=forced):
        clock.now += seconds


def test_a_run_keeps_its_share_between_the_forced_measurements():
    clock = Clock()
    budget = Budget(0.02, clock)
    budget.start()
    measure(budget, clock, 2.0, forced=True)
    taken = 0
    while clock.now < 700:  # ten minutes of steps of 0.1 s, each of which would like to measure
        clock.now += 0.1
        if budget.allows():
            taken += 1
            measure(budget, clock, 2.0)
    assert taken == 6
    assert budget.chosen <= 0.02 * budget.elapsed
    measure(budget, clock, 2.0, forced=True)
    assert budget.forced == pytest.approx(4.0)
    assert budget.overhead == pytest.approx(16 / 602, rel=0.01)


def test_an_estimate_follows_the_cost_but_forgets_one_slow_start():
    clock = Clock()
    budget = Budget(0.02, clock)
    budget.start()
    measure(budget, clock, 8.0, forced=True)
    for _ in range(5):
        measure(budget, clock, 1.0)
    assert budget.cost == pytest.approx(1.0, abs=0.3)
    measure(budget, clock, 5.0)
    assert budget.cost == pytest.approx(5.0)


def test_without_a_limit_everything_is_allowed():
    clock = Clock()
    budget = Budget(None, clock)
    budget.start()
    measure(budget, clock, 50.0)
    assert budget.allows()
    assert budget.overhead == 1.0


def test_a_failing_measurement_is_paid_for():
    clock = Clock()
    budget = Budget(0.02, clock)
    budget.start()

    def fail():
        with budget.measuring(forced=False):
            clock.now += 3.0
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        fail()
    assert budget.chosen == 3.0
    assert budget.running == 0.0


def test_what_is_done_afterwards_is_paid_for_and_says_nothing_of_the_next_measurement():
    clock = Clock()
    budget = Budget(0.5, clock)
    budget.start()
    measure(budget, clock, 8, forced=True)
    with budget.afterwards():
        clock.now += 2
    with budget.afterwards(forced=True):
        clock.now += 1
    assert (budget.forced, budget.chosen, budget.cost) == (9, 2, 8)
    assert budget.overhead == 1


def test_a_resumed_run_goes_on_counting():
    clock = Clock()
    budget = Budget(0.02, clock)
    budget.start(elapsed=1000.0, forced=2.0, chosen=19.0, cost=2.0)
    assert not budget.allows()
    clock.now += 60.0
    assert budget.allows()
    assert budget.elapsed == 1060.0


def test_forced_measurements_that_exceed_the_share():
    budget = Budget(0.02, Clock())
    budget.start(cost=3.0)
    assert budget.exceeded_by_forced(200.0)
    assert not budget.exceeded_by_forced(301.0)


def test_bad_share():
    with pytest.raises(ValueError, match="max_overhead must lie in"):
        Budget(0.0)
