"""Intervals cover, p-values are uniform under independence; both are simulated."""

from functools import partial

import pytest
import torch
from scipy import stats

from lightning_layerscope.functional import (
    components_for_variance,
    effective_rank,
    knn_purity,
    linear_predictivity,
    mutual_knn,
    participation_ratio,
    procrustes_similarity,
    rsa,
    scatter_ratio,
    silhouette,
    svcca,
)
from lightning_layerscope.functional.uncertainty import jackknife_estimate, permutation_pvalue

PAIRS = {
    "svcca": partial(svcca, variance=0.9),
    "procrustes_similarity": procrustes_similarity,
    "rsa": partial(rsa, correlation="pearson"),
    "mutual_knn": partial(mutual_knn, k=5),
    "linear_predictivity": linear_predictivity,
}
SINGLES = {
    "effective_rank": effective_rank,
    "participation_ratio": participation_ratio,
    "components": partial(components_for_variance, interpolate=True),
}
LABELLED = {"scatter_ratio": scatter_ratio, "knn_purity": partial(knn_purity, k=5), "silhouette": silhouette}


def test_of_a_mean_it_is_the_textbook_interval():
    x = torch.randn(30, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = jackknife_estimate(lambda sample: sample.mean(dim=-2), x, confidence=0.95)
    low, high = stats.t.interval(0.95, 29, loc=x.mean(0), scale=x.std(0) / 30**0.5)
    torch.testing.assert_close(found.stderr, x.std(0) / 30**0.5)
    torch.testing.assert_close(found.low, torch.from_numpy(low), rtol=1e-6, atol=0)
    torch.testing.assert_close(found.high, torch.from_numpy(high), rtol=1e-6, atol=0)


def test_groups_of_unequal_size():
    """64 examples in 20 groups of 3 and 4: what a value owes to the number of examples alone is no uncertainty."""
    x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    count = jackknife_estimate(lambda sample: torch.tensor(float(len(sample))), x, groups=20)
    # The plain jackknife over these groups gives 1.74.
    assert count.stderr < 0.1
    # Of a mean the pseudo-values are the groups' means.
    found = jackknife_estimate(lambda sample: sample.mean(dim=-2), x, groups=20)
    parts = [x[torch.arange(64) % 20 == group] for group in range(20)]
    expected = torch.stack([(part.mean(0) - x.mean(0)).square() / (64 / len(part) - 1) for part in parts]).mean(0)
    torch.testing.assert_close(found.stderr, expected.sqrt())


def test_layers_are_estimated_together(related):
    x, y = related
    whole = jackknife_estimate(rsa, x, y, groups=10)
    single = jackknife_estimate(rsa, x[1], y[1], groups=10)
    assert whole.stderr.shape == (2,)
    torch.testing.assert_close(whole.low[1], single.low)


def test_groups_by_strata_take_from_every_task(clustered):
    """Eleven groups over tasks of 14, 20 and 11 examples: every left-out group holds one or two of each."""
    seen = []

    def measure(x, labels):
        seen.append(torch.bincount(labels))
        return scatter_ratio(x, labels)

    jackknife_estimate(measure, *clustered, groups=11, strata=clustered[1])
    left_out = torch.tensor([14, 20, 11]) - torch.stack(seen[1:])
    assert int(left_out.min()) >= 1
    assert int(left_out.max()) <= 2


def sample(kind: str, generator: torch.Generator, width: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    """64 examples, spectrum 1/k: related pairs, or four tasks."""
    strength = 1 / torch.arange(1, width + 1, dtype=torch.float64)
    x = torch.randn(64, width, generator=generator, dtype=torch.float64)
    if kind == "pairs":
        noise = torch.randn(64, width, generator=generator, dtype=torch.float64)
        return x * strength, (0.6 * x + 0.8 * noise) * strength
    means = torch.randn(4, width, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    labels = torch.arange(64) % 4
    return (means[labels] + x) * strength, labels


@pytest.mark.parametrize("name", PAIRS | SINGLES | LABELLED)
def test_ninety_percent_intervals_cover(name):
    """Of the value expected at this number of examples; 120 draws put 90 % within .82 and .98 (3 standard errors).

    Wider than nominal is allowed (the jackknife errs on that side), narrower is not; docs/measures.md has a table.
    """
    measure = (PAIRS | SINGLES | LABELLED)[name]
    generator = torch.Generator().manual_seed(1)
    found = []
    for _ in range(120):
        x, other = sample("tasks" if name in LABELLED else "pairs", generator)
        arguments = (x,) if name in SINGLES else (x, other)
        strata = other if name in LABELLED else None
        found.append(jackknife_estimate(measure, *arguments, groups=16, strata=strata))
    expected = torch.stack([estimate.value for estimate in found]).mean()
    covered = [bool(estimate.low <= expected <= estimate.high) for estimate in found]
    assert sum(covered) / len(covered) >= 0.82
    # An interval that covers because it is useless would pass the line above.
    spread = torch.stack([estimate.value for estimate in found]).std()
    assert float(torch.stack([estimate.stderr for estimate in found]).mean() / spread) < 2.2


def test_a_bootstrap_with_repeated_rows_would_not_cover():
    """Why there is none: repeated rows inflate the value, so the percentile interval misses the expected value."""
    generator = torch.Generator().manual_seed(1)
    values, intervals = [], []
    for _ in range(30):
        x, y = torch.randn(2, 48, 30, generator=generator, dtype=torch.float64)
        values.append(mutual_knn(x, y, k=5, distance="euclidean"))
        draws = torch.randint(48, (40, 48), generator=generator)
        resampled = torch.stack([mutual_knn(x[rows], y[rows], k=5, distance="euclidean") for rows in draws])
        intervals.append(resampled.quantile(torch.tensor([0.05, 0.95], dtype=torch.float64)))
    expected = torch.stack(values).mean()
    covered = sum(bool(low <= expected <= high) for low, high in intervals)
    assert covered / 30 < 0.5


def test_pvalues_are_uniform_under_independence():
    generator = torch.Generator().manual_seed(0)
    measure = partial(rsa, correlation="pearson")
    values = []
    for _ in range(150):
        x, y = torch.randn(2, 20, 6, generator=generator)
        values.append(float(permutation_pvalue(measure, x, y, permutations=19, generator=generator)))
    # p is one of .05, .1, ..., 1 with equal chance: 20 % up to .2, give or take 3 standard errors of 150 draws.
    assert sum(value <= 0.2 for value in values) / 150 == pytest.approx(0.2, abs=0.1)
    assert sum(values) / 150 == pytest.approx(0.525, abs=0.07)


def test_a_biased_measure_still_has_a_fair_pvalue():
    """Procrustes similarity of unrelated wide sides is near one; its p-value is not small."""
    generator = torch.Generator().manual_seed(3)
    x, y = torch.randn(2, 20, 200, generator=generator)
    assert float(procrustes_similarity(x, y)) > 0.6
    assert float(permutation_pvalue(procrustes_similarity, x, y, permutations=50, generator=generator)) > 0.05


def test_related_sides_have_the_smallest_pvalue(related, clustered):
    generator = torch.Generator().manual_seed(0)
    found = permutation_pvalue(svcca, *related, permutations=49, generator=generator)
    torch.testing.assert_close(found, torch.full((2,), 0.02, dtype=torch.float64))
    found = permutation_pvalue(silhouette, *clustered, permutations=49, generator=generator)
    torch.testing.assert_close(found, torch.full((2,), 0.02, dtype=torch.float64))


def test_distances_count_the_other_way():
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))

    def distance(a, b):
        return 1 - procrustes_similarity(a, b)

    generator = torch.Generator().manual_seed(0)
    small = permutation_pvalue(distance, x, x, permutations=19, generator=generator, larger_is_similar=False)
    large = permutation_pvalue(distance, x, x, permutations=19, generator=generator)
    assert (float(small), float(large)) == (0.05, 1.0)


def test_an_undefined_value_has_no_pvalue():
    x = torch.ones(20, 4)
    assert torch.isnan(permutation_pvalue(rsa, x, x, permutations=3))


def test_the_generator_makes_it_repeatable_and_leaves_the_global_one_alone(related):
    before = torch.get_rng_state()
    first, second = (
        permutation_pvalue(rsa, *related, permutations=20, generator=torch.Generator().manual_seed(4)) for _ in range(2)
    )
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


def test_refuses_malformed_input(related):
    x, y = related
    with pytest.raises(ValueError, match="between 3 groups and one per example"):
        jackknife_estimate(rsa, x, y, groups=2)
    with pytest.raises(ValueError, match="between 3 groups and one per example"):
        jackknife_estimate(rsa, x, y, groups=41)
    with pytest.raises(ValueError, match=r"`confidence` in \(0, 1\)"):
        jackknife_estimate(rsa, x, y, confidence=90)
    with pytest.raises(ValueError, match="equally many examples"):
        jackknife_estimate(rsa, x, y[:, :-1])
    with pytest.raises(ValueError, match="at least one tensor"):
        jackknife_estimate(rsa)
    with pytest.raises(ValueError, match="`strata` needs `groups`"):
        jackknife_estimate(rsa, x, y, strata=torch.zeros(40))
    with pytest.raises(ValueError, match="at least one permutation"):
        permutation_pvalue(rsa, x, y, permutations=0)
