import numpy as np
import pytest

from lightning_layerscope.advice.trial_file import TrialLine
from lightning_layerscope.advice.verdict import judge

TASKS = [f"task{place}" for place in range(8)]


def lines(gaps, seeds=3, noise=0.05, seed=0):
    """Selectors with known losses above 2 nats; tasks differ more than selectors do."""
    generator = np.random.default_rng(seed)
    level = generator.normal(size=len(TASKS))
    found = [TrialLine("base", 0, (), {}, 0, dict.fromkeys(TASKS, 9.0), {"facts": 2.0, "reading": 2.0})]
    for name, gap in gaps.items():
        for number in range(seeds):
            losses = 2 + level + gap + noise * generator.normal(size=len(TASKS))
            kept = {skill: 2.5 + 0.01 * generator.normal() for skill in ("facts", "reading")}
            found.append(TrialLine(name, number, (1, 2), {"2": 4}, 10, dict(zip(TASKS, losses, strict=True)), kept))
    return found


def test_a_clear_winner_is_named():
    verdict = judge(lines({"first": 1.0, "middle-band": 0.0, "last": 0.6}))
    assert [standing.selector for standing in verdict.standings] == ["middle-band", "last", "first"]
    assert verdict.tied == ("middle-band",)
    assert "Train the layers that 'middle-band' names" in verdict.describe()
    gap = verdict.standings[2].gap
    assert gap.low < 1.0 < gap.high


def test_no_difference_says_how_small_it_would_have_to_be():
    verdict = judge(lines({"first": 0.0, "last": 0.0, "all": 0.0}))
    assert set(verdict.tied) == {"first", "last", "all"}
    assert f"smaller than {verdict.seen:.2f} nats" in verdict.describe()
    assert 0 < verdict.seen < 0.3


def test_some_are_tied_and_some_are_worse():
    verdict = judge(lines({"first": 1.0, "last": 0.0, "all": 0.0}))
    assert set(verdict.tied) == {"last", "all"}
    assert "Worse: first" in verdict.describe()


def test_false_winners_are_rare():
    """No rule is better than another, eight of them, 200 trials: a difference is claimed in at most 1 of 10."""
    names = dict.fromkeys("abcdefgh", 0.0)
    claimed = sum(len(judge(lines(names, seed=seed)).tied) < len(names) for seed in range(200))
    assert claimed <= 20


def test_what_was_forgotten_stands_beside_it():
    standing = judge(lines({"all": 0.0})).standings[0]
    assert standing.forgotten.low < 0.5 < standing.forgotten.high
    assert standing.retention == pytest.approx(2.5, abs=0.02)
    assert "nothing to choose from" in judge(lines({"all": 0.0})).describe()


def test_only_common_seeds_are_compared():
    entries = [line for line in lines({"all": 0.0, "last": 0.0}) if (line.selector, line.seed) != ("last", 2)]
    worst = [line for line in entries if line.key == ("all", 2)]
    worst[0].loss.update(dict.fromkeys(TASKS, 50.0))
    verdict = judge(entries)
    assert verdict.standings[-1].selector == "all"
    assert abs(verdict.standings[-1].gap.value) < 0.2


def test_refuses_what_cannot_be_compared():
    with pytest.raises(ValueError, match="no finished training"):
        judge(lines({}))
    one, *_ = lines({"all": 0.0})[1:]
    with pytest.raises(ValueError, match="different tasks"):
        judge([one, TrialLine("last", 0, (1,), {}, 1, {"other": 1.0}, {})])


def test_a_single_seed_is_said_to_be_one():
    assert "another seed may say otherwise" in judge(lines({"all": 0.0, "last": 0.0}, seeds=1)).describe()
    assert "(3 seeds of each rule)" in judge(lines({"all": 0.0, "last": 0.0})).describe()
