import pytest

from lightning_layerscope.monitor.cadence import Cadence


def test_every_n_steps_and_chosen_steps_add_up():
    cadence = Cadence.of(every_n_steps=4, at_steps=[3, 9, 3])
    assert [step for step in range(13) if cadence.due(step)] == [3, 4, 8, 9, 12]


def test_step_zero_is_due_only_where_chosen():
    assert not Cadence(every_n_steps=2).due(0)
    assert Cadence(at_steps=(0,)).due(0)


def test_nothing_is_due_twice_while_gradients_accumulate():
    assert Cadence(every_n_steps=4).due(4, since=3)
    assert not Cadence(every_n_steps=4).due(4, since=4)


def test_steps_taken_together_pass_no_trigger():
    assert Cadence(every_n_steps=5).due(6, since=4)  # two optimisers: steps count by two
    assert not Cadence(every_n_steps=5).due(9, since=5)
    assert Cadence(at_steps=(7,)).due(8, since=6)


@pytest.mark.parametrize(
    ("ratio", "steps"), [(2.0, [1, 2, 4, 8, 16, 32, 64]), (1.5, [1, 2, 3, 4, 6, 8, 12, 18, 26, 39, 58])]
)
def test_geometric_steps_are_powers_rounded_up(ratio, steps):
    assert [step for step in range(70) if Cadence(geometric=ratio).due(step)] == steps


def test_geometric_is_the_default_and_only_the_default():
    assert Cadence.of().geometric == 2.0
    assert Cadence.of(on_validation_end=True).geometric is None
    assert not Cadence.of(on_validation_end=True).due(100)


def test_words():
    text = Cadence.of(every_n_steps=10, at_steps=[1], geometric=3, on_validation_end=True).describe()
    assert text == "every 10 steps, at step 1, at steps that grow by 3, after every validation"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every_n_steps": 0}, "every_n_steps must be at least 1, got 0"),
        ({"at_steps": [-1]}, "at_steps must not be negative"),
        ({"geometric": 1.0}, "must be above 1, got 1"),
        ({"geometric": float("nan")}, "must be above 1, got nan"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Cadence.of(**arguments)
