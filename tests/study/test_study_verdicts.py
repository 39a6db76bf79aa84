"""Verdicts on many tasks at once: how many are false where nothing differs."""

import numpy as np
import pytest

from lightning_layerscope.functional.interval import Interval
from lightning_layerscope.study.results.statistics import correlate
from lightning_layerscope.study.results.verdicts import give_verdicts
from lightning_layerscope.study.stages.gains import GAINED, MOVED_AWAY, NO_CHANGE, UNDEFINED, Gains

NORMAL = 1.6448536269514722


def gains_of(seeds: np.ndarray, stderr: float = 0.01) -> Gains:
    value = float(seeds.mean())
    gained = Interval(value, value - NORMAL * stderr, value + NORMAL * stderr)
    several = seeds.tolist() if len(seeds) > 1 else None
    return Gains(gained, gained, [1], None, None, NO_CHANGE, several)


def study(seed: int, *, scatter: float, seeds: int = 2, effects: int = 0, tasks: int = 48) -> dict[str, Gains]:
    rng = np.random.default_rng(seed)
    gained = np.where(np.arange(tasks) < effects, 0.06, 0) + 0.01 * rng.standard_normal(tasks)
    each = gained[:, None] + 0.01 * scatter * rng.standard_normal((tasks, seeds))
    return {f"task{number}": gains_of(values) for number, values in enumerate(each)}


@pytest.mark.parametrize("scatter", [1.0, 2.0, 5.0])
def test_studies_in_which_nothing_differs_rarely_have_an_adjusted_verdict(scatter: float) -> None:
    found = [give_verdicts(study(seed, scatter=scatter), 0.9) for seed in range(400)]
    assert np.mean([min(each.adjusted for each in verdicts.values()) <= 0.1 for verdicts in found]) <= 0.12
    alone = [each.words != NO_CHANGE for verdicts in found for each in verdicts.values()]
    assert np.mean(alone) == pytest.approx(0.1, abs=0.015)


def test_gains_are_found_and_named() -> None:
    verdicts = list(give_verdicts(study(0, scatter=1, effects=24), 0.9).values())
    assert sum(each.words == GAINED for each in verdicts[:24]) >= 22
    assert all(each.adjusted >= each.pvalue for each in verdicts)
    lost = give_verdicts({"a": gains_of(np.array([-0.2])), "b": gains_of(np.array([np.nan]))}, 0.9)
    assert (lost["a"].words, lost["b"].words) == (MOVED_AWAY, UNDEFINED)
    assert lost["a"].adjusted == lost["a"].pvalue
    assert np.isnan(lost["b"].adjusted)


def test_one_seed_has_the_prompts_noise_alone() -> None:
    assert give_verdicts({"a": gains_of(np.array([0.3]))}, 0.9)["a"].noise == pytest.approx(0.01)
    two = give_verdicts({"a": gains_of(np.array([0.2, 0.4]))}, 0.9)["a"]
    assert two.noise == pytest.approx(np.hypot(0.01, np.sqrt(0.02 / 2)))


def test_correlations_are_adjusted_for_all_of_them_together() -> None:
    rng = np.random.default_rng(0)
    values = {"base": rng.standard_normal((30, 8)), "multitask": rng.standard_normal((30, 8))}
    found = correlate(values, {"size": rng.standard_normal(30), "constant": np.ones(30)})
    rows = found.rows(range(1, 9))
    known = rows[rows["covariate"] == "size"]
    assert len(known) == 16
    assert (known["adjusted_pvalue"] >= known["pvalue"]).all()
    assert known["adjusted_pvalue"].min() == pytest.approx(
        (np.sort(known["pvalue"]) * 16 / np.arange(1, 17)).min(), rel=1e-9
    )
    assert rows.loc[rows["covariate"] == "constant", "adjusted_pvalue"].isna().all()
