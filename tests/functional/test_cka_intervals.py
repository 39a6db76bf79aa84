"""The closed-form jackknife is the jackknife, covers what it says; permutation p-values are uniform under the null."""

import runpy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_layerscope.functional import (
    centered_gram,
    cka_estimate,
    cka_from_grams,
    cka_permutation_pvalue,
    linear_cka,
    prepare_gram,
)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("estimator", ["debiased", "biased"])
@pytest.mark.parametrize(("n", "width"), [(5, 4), (18, 40), (30, 3)])
def test_closed_form_equals_leaving_out_one_by_one(
    n: int, width: int, estimator: str, generator: torch.Generator
) -> None:
    x = torch.randn(3, n, width, generator=generator, dtype=torch.float64)
    y = x + torch.randn(3, n, width, generator=generator, dtype=torch.float64)
    keep = [torch.arange(n) != i for i in range(n)]
    replicates = torch.stack([linear_cka(x[:, rows], y[:, rows], estimator) for rows in keep])
    stderr = ((replicates - replicates.mean(0)).square().sum(0) * (n - 1) / n).sqrt()
    k, other = centered_gram(x), prepare_gram(centered_gram(y))
    found = cka_estimate(k, other, estimator=estimator, confidence=0.9)
    assert torch.allclose(found.value, linear_cka(x, y, estimator), rtol=1e-10)
    assert torch.allclose(found.stderr, stderr, rtol=1e-7, equal_nan=True)
    assert torch.allclose(found.high - found.low, 2 * 1.6448536 * stderr, rtol=1e-6, equal_nan=True)
    low = cka_estimate(k[1], other[1], estimator=estimator).low
    assert torch.allclose(low, found.low[1], equal_nan=True)


def test_float32_grams_give_the_same_interval(generator: torch.Generator) -> None:
    x = torch.randn(64, 300, generator=generator)
    x[:, 5] *= 100
    y = x + torch.randn(64, 300, generator=generator)
    single = cka_estimate(centered_gram(x), centered_gram(y))
    double = cka_estimate(centered_gram(x.double()), centered_gram(y.double()))
    for a, b in zip(single, double, strict=True):
        assert abs(float(a - b)) < 1e-6


def test_a_side_with_itself_is_certain(generator: torch.Generator) -> None:
    k = centered_gram(torch.randn(20, 5, generator=generator))
    found = cka_estimate(k, k)
    assert abs(float(found.value) - 1) < 1e-12
    assert float(found.stderr) < 1e-12


def test_undefined_cells_have_no_interval(generator: torch.Generator) -> None:
    x = torch.randn(2, 10, 4, generator=generator)
    x[1] = 3
    found = cka_estimate(centered_gram(x), centered_gram(torch.randn(2, 10, 4, generator=generator)))
    assert all(torch.isnan(part).tolist() == [False, True] for part in found)


def test_bad_options_are_refused(generator: torch.Generator) -> None:
    k = centered_gram(torch.randn(4, 3, generator=generator))
    with pytest.raises(ValueError, match="At least 5 examples are needed for an interval, got 4"):
        cka_estimate(k, k)
    with pytest.raises(ValueError, match=r"between 0 and 1, e.g. 0.9, got 95"):
        cka_estimate(k, k, confidence=95)
    with pytest.raises(ValueError, match="same layers and examples"):
        cka_estimate(k, k[None])


# Binomial bounds: 300 intervals of true coverage .90 lie within .90 +- .052 in 99.7 % of such runs.
@pytest.mark.parametrize(
    ("width", "spectrum", "value", "low", "high"),
    [(256, "1/k", 0.25, 0.85, 0.97), (256, "1/k^2", 0.81, 0.85, 0.97), (256, "flat", 0.0, 0.90, 1.0)],
)
def test_intervals_cover(width: int, spectrum: str, value: float, low: float, high: float) -> None:
    script = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "coverage.py"))
    found = script["simulate"](64, width, spectrum, value, repeats=300, confidence=0.9)
    assert low <= found.covered <= high
    assert abs(found.bias) < 0.02


def test_a_bootstrap_with_repeated_examples_would_not_cover(generator: torch.Generator) -> None:
    x, y = torch.randn(2, 64, 256, generator=generator)
    truth = 0.0
    rows = torch.randint(0, 64, (100, 64), generator=generator)
    values = torch.stack([linear_cka(x[r], y[r]) for r in rows])
    assert float(values.quantile(0.05)) > truth + 0.1


@pytest.mark.parametrize("estimator", ["debiased", "biased"])
def test_pvalues_are_uniform_without_and_small_with_a_relation(estimator: str, generator: torch.Generator) -> None:
    x, y = torch.randn(2, 100, 20, 30, generator=generator)
    p = cka_permutation_pvalue(
        centered_gram(x), centered_gram(y), permutations=99, estimator=estimator, generator=generator
    )
    # Kolmogorov-Smirnov: sqrt(100) D > 1.63 has probability .01.
    steps = torch.arange(1, 101) / 100
    assert float((p.sort().values - steps).abs().max()) < 0.163
    related = cka_permutation_pvalue(centered_gram(x), centered_gram(x + y), permutations=99, generator=generator)
    assert float(related.median()) == pytest.approx(0.01)


def test_permuted_values_are_cka_of_permuted_examples(generator: torch.Generator) -> None:
    x, y = torch.randn(2, 12, 4, generator=generator, dtype=torch.float64)
    orders = [torch.randperm(12, generator=torch.Generator().manual_seed(5))]
    observed, shuffled = linear_cka(x, y), linear_cka(x, y[orders[0]])
    p = cka_permutation_pvalue(
        centered_gram(x), centered_gram(y), permutations=1, generator=torch.Generator().manual_seed(5)
    )
    assert float(p) == (1.0 if shuffled >= observed else 0.5)


def test_pvalue_undefined_and_grams_shared(generator: torch.Generator) -> None:
    k = centered_gram(torch.stack([torch.ones(8, 2), torch.randn(8, 2, generator=generator)]))
    p = cka_permutation_pvalue(k, k, permutations=9, generator=generator)
    assert torch.isnan(p).tolist() == [True, False]
    assert isinstance(cka_from_grams(k, k), Tensor)
