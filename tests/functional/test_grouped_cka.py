"""Examples in groups (near copies): CKA, its interval and p-values take each group as one independent unit."""

import runpy
from functools import partial
from itertools import permutations
from pathlib import Path

import pytest
import torch

from lightning_layerscope.functional import (
    centered_gram,
    cka_estimate,
    cka_permutation_pvalue,
    jackknife_estimate,
    permutation_pvalue,
    rsa,
)
from lightning_layerscope.functional.grouped_cka import grouped_cka_replicates

COVERAGE = Path(__file__).parents[2] / "benchmarks" / "coverage.py"
UNEVEN = torch.tensor([3, 8, 3, 1, 8, 3, 2, 5, 9, 1])


def sides(n=10, width=4):
    x, z = torch.randn(2, n, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x, x + 0.7 * z


def by_enumeration(x, y, groups):
    """HSIC as the mean over all choices of different groups, every example of a group as likely."""
    labels = sorted(set(groups.tolist()))
    members = {label: (groups == label).nonzero().flatten().tolist() for label in labels}

    def mean(values, groups_each, choose):
        total = 0.0
        for chosen in permutations(labels, groups_each):
            grids = torch.cartesian_prod(*(torch.tensor(members[label]) for label in chosen))
            total += float(choose(values, grids.T).mean())
        return total / len(list(permutations(labels, groups_each)))

    def hsic(k, l):  # noqa: E741
        first = mean((k, l), 2, lambda s, i: s[0][i[0], i[1]] * s[1][i[0], i[1]])
        second = mean((k, l), 3, lambda s, i: s[0][i[0], i[1]] * s[1][i[0], i[2]])
        third = mean((k, l), 4, lambda s, i: s[0][i[0], i[1]] * s[1][i[2], i[3]])
        return first - 2 * second + third

    k, l = centered_gram(x), centered_gram(y)  # noqa: E741
    return hsic(k, l) / (hsic(k, k) * hsic(l, l)) ** 0.5


def test_value_and_replicates_are_those_of_enumerating_groups():
    x, y = sides()
    value, replicates = grouped_cka_replicates(centered_gram(x), centered_gram(y), UNEVEN, estimator="debiased")
    assert float(value) == pytest.approx(by_enumeration(x, y, UNEVEN), rel=1e-9)
    for found, label in zip(replicates, sorted(set(UNEVEN.tolist())), strict=True):
        kept = label != UNEVEN
        assert float(found) == pytest.approx(by_enumeration(x[kept], y[kept], UNEVEN[kept]), rel=1e-9)


def test_groups_of_one_are_no_groups():
    x, y = sides(30)
    k, other = centered_gram(torch.stack([x, y])), centered_gram(torch.stack([y, x**3]))
    plain = cka_estimate(k, other)
    single = cka_estimate(k, other, groups=torch.randperm(30, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(single.value, plain.value)
    torch.testing.assert_close(single.stderr, plain.stderr)


def test_without_variance_it_is_undefined():
    k = centered_gram(torch.stack([torch.ones(10, 2), torch.randn(10, 2, generator=torch.Generator().manual_seed(0))]))
    found = cka_estimate(k, k, groups=UNEVEN)
    for part in found:
        assert torch.isnan(part).tolist() == [True, False]


# 200 intervals of true coverage .90 lie within .90 +- .064 in 99.7 % of such runs.
@pytest.mark.parametrize(("spectrum", "most"), [("1/k", 0.97), ("flat", 1.0)])
def test_grouped_copies_are_covered_as_independent_examples_are_not(spectrum, most):
    simulate = partial(runpy.run_path(str(COVERAGE))["simulate_copies"], repeats=200, confidence=0.9)
    separate, grouped = (simulate(64, spectrum, 0.25, grouped=grouped) for grouped in (False, True))
    assert separate.covered < 0.2
    assert separate.bias > 0.2
    assert 0.83 < grouped.covered <= most
    assert abs(grouped.bias) < 0.02


def test_pvalues_by_group_hold_their_level():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(200, 16, 6, generator=generator).repeat_interleave(3, dim=1) for _ in range(2))
    k, other = centered_gram(x), centered_gram(y)
    groups = torch.arange(16).repeat_interleave(3)
    blind, sound = (
        cka_permutation_pvalue(k, other, permutations=99, generator=generator, groups=each) for each in (None, groups)
    )
    assert float((blind <= 0.05).double().mean()) > 0.9
    assert 0.01 <= float((sound <= 0.05).double().mean()) <= 0.1
    same = permutation_pvalue(rsa, x[0], x[0], permutations=99, generator=generator, groups=groups)
    assert float(same) == pytest.approx(0.01)


def test_groups_of_unequal_size_change_places_only_with_their_like():
    order = torch.arange(10.0)
    seen = []

    def measure(x, y):
        seen.append(y.flatten().int().tolist())
        return (x * y).sum()

    permutation_pvalue(
        measure,
        order[:, None],
        order[:, None],
        permutations=50,
        generator=torch.Generator().manual_seed(0),
        groups=UNEVEN,
    )
    pairs = {tuple(found[position] for position in (1, 4)) for found in seen}
    assert pairs == {(1, 4), (3, 9)}
    assert all([found[position] for position in (0, 2, 5)] == [0, 2, 5] for found in seen)
    assert all(sorted(found) == list(range(10)) for found in seen)


def test_given_groups_are_left_out_together():
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    dealt = jackknife_estimate(lambda sample: sample.mean(dim=-2), x, groups=20)
    given = jackknife_estimate(lambda sample: sample.mean(dim=-2), x, groups=7 * (torch.arange(60) % 20))
    for one, two in zip(dealt, given, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize(
    ("groups", "estimator", "match"),
    [
        (torch.zeros(10), "debiased", "a whole number per example, shape"),
        (torch.zeros(9, dtype=torch.long), "debiased", "a whole number per example, shape"),
        (torch.arange(10) % 4, "debiased", "At least 5 groups are needed for an interval, got 4"),
        (UNEVEN, "biased", 'need estimator="debiased"'),
    ],
)
def test_groups_that_do_not_fit(groups, estimator, match):
    k = centered_gram(sides()[0])
    with pytest.raises(ValueError, match=match):
        cka_estimate(k, k, estimator=estimator, groups=groups)


def test_given_groups_have_no_strata():
    x = sides()[0]
    with pytest.raises(ValueError, match="given groups are as they are"):
        jackknife_estimate(lambda sample: sample.mean(dim=-2), x, groups=UNEVEN, strata=UNEVEN)
    with pytest.raises(ValueError, match="at least 3 groups, got 2"):
        jackknife_estimate(lambda sample: sample.mean(dim=-2), x, groups=torch.arange(10) % 2)
