"""Verdicts on many tasks at once: how many are false where nothing differs."""

from types import SimpleNamespace

import numpy as np
import pytest

from lightning_layerscope.functional.interval import Interval
from lightning_layerscope.study.results.statistics import correlate
from lightning_layerscope.study.results.table import UNDER_TRAINED, beside_rows
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


def test_controls_of_other_budgets_are_adjusted_within_their_budget() -> None:
    def group(budget: str, gained: float, under: list[str]) -> SimpleNamespace:
        losses = SimpleNamespace(unlearned=[], under_trained=under, guessing=[], mean=1.0)
        return SimpleNamespace(budget=budget, keys=["control"], losses=losses, gains=gains_of(np.array([gained])))

    beside = {
        "a": [group("equal_steps", 0.02, []), group("converged", 0.02, [])],
        "b": [group("equal_steps", 0.0, [])],
        "c": [group("equal_steps", 0.5, ["control"])],
    }
    comparisons = {task: SimpleNamespace(beside=groups, loss_tuned=1.0) for task, groups in beside.items()}
    rows = beside_rows(SimpleNamespace(comparisons=comparisons, confidence=0.9))  # type: ignore[arg-type]
    found = {(row.task, row.control_budget): row for row in rows}
    several, alone = found["a", "equal_steps"], found["a", "converged"]
    assert several.pvalue == alone.pvalue == alone.adjusted_pvalue == pytest.approx(0.0455, abs=1e-4)
    assert several.adjusted_pvalue == pytest.approx(0.091, abs=1e-3)
    assert (several.verdict, found["b", "equal_steps"].verdict) == (GAINED, NO_CHANGE)
    assert (found["c", "equal_steps"].verdict, found["c", "equal_steps"].pvalue) == (UNDER_TRAINED, None)
