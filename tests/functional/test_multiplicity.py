"""Verdicts on many tasks: how many are false, with and without adjustment."""

import numpy as np
import pytest

from lightning_layerscope.functional.multiplicity import (
    Noise,
    adjusted_pvalues,
    expected_by_chance,
    noise_of_mean,
    pooled_scatter,
    two_sided_pvalue,
)


def study(rng, *, effects=0, seeds=2, scatter=2.0, tasks=48):
    """Adjusted and plain p-values of one study whose tasks' values have a standard error of 1 over examples."""
    truth = np.where(np.arange(tasks) < effects, 6.0, 0.0)
    seed = truth[:, None] + rng.standard_normal((tasks, 1)) + scatter * rng.standard_normal((tasks, seeds))
    pooled, freedom = pooled_scatter(seed)
    plain = [two_sided_pvalue(row.mean(), noise_of_mean(1.0, pooled, seeds, freedom)) for row in seed]
    return adjusted_pvalues(plain), np.asarray(plain)


@pytest.mark.parametrize("scatter", [1.0, 2.0, 5.0])
def test_studies_without_any_effect_rarely_have_a_verdict(scatter):
    rng = np.random.default_rng(0)
    found = [study(rng, scatter=scatter) for _ in range(400)]
    assert np.mean([(adjusted <= 0.1).any() for adjusted, _ in found]) <= 0.12
    assert np.mean([(plain <= 0.1).any() for _, plain in found]) >= 0.9
    assert np.mean([plain <= 0.1 for _, plain in found]) == pytest.approx(0.1, abs=0.015)


def test_effects_are_found_at_the_false_discovery_rate():
    rng = np.random.default_rng(1)
    false, power = [], []
    for _ in range(200):
        adjusted, _ = study(rng, effects=24, scatter=1.0)
        found = adjusted <= 0.1
        false.append(found[24:].sum() / max(found.sum(), 1))
        power.append(found[:24].mean())
    assert np.mean(false) <= 0.1
    assert np.mean(power) >= 0.9


def test_adjustment_is_benjamini_and_hochbergs_and_leaves_out_what_is_undefined():
    found = adjusted_pvalues([[0.01, np.nan], [0.04, 0.5]])
    np.testing.assert_allclose(found, [[0.03, np.nan], [0.06, 0.5]])
    assert np.isnan(adjusted_pvalues([np.nan])).all()
    with pytest.raises(ValueError, match="between 0 and 1"):
        adjusted_pvalues([1.2])
    assert expected_by_chance([0.2, np.nan, 0.7], 0.1) == pytest.approx(0.2)


def test_scatter_is_pooled_over_tasks_and_left_out_where_unknown():
    assert pooled_scatter([[1.0, 3.0], [5.0, 5.0], [7.0]]) == (1.0, 2)
    assert np.isnan(pooled_scatter([[1.0], []])[0])
    assert noise_of_mean(3.0, 4.0, 1, 10).stderr == 5
    assert noise_of_mean(0.0, 4.0, 1, 10).freedom == 10
    assert noise_of_mean(3.0, float("nan"), 2, 0) == Noise(3.0, np.inf)
    assert np.isnan(two_sided_pvalue(1.0, Noise(0.0, np.inf)))
    assert two_sided_pvalue(-1.96, Noise(1.0, np.inf)) == pytest.approx(0.05, abs=1e-3)
    assert two_sided_pvalue(2.228, Noise(1.0, 10)) == pytest.approx(0.05, abs=1e-3)
