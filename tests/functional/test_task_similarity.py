import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity

from lightning_layerscope.functional import linear_cka, task_similarity
from lightning_layerscope.functional.task_similarity import (
    covariance_overlap,
    mean_noise,
    specialist_cka,
    task_mean_cosine,
)


def test_mean_cosine_equals_scikit_learn(tolerances):
    means = torch.randn(2, 7, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 30
    for layer, found in zip(means.numpy(), task_mean_cosine(means, estimator="biased"), strict=True):
        np.testing.assert_allclose(found, cosine_similarity(layer - layer.mean(0)), rtol=0, atol=tolerances.EXACT)


def test_opposite_shifts_are_opposite():
    shift = torch.randn(5, generator=torch.Generator().manual_seed(0))
    means = 1000 + torch.stack([shift, -shift, 2 * shift, -2 * shift])
    expected = torch.tensor([[1, -1, 1, -1], [-1, 1, -1, 1], [1, -1, 1, -1], [-1, 1, -1, 1]], dtype=torch.float64)
    torch.testing.assert_close(task_mean_cosine(means, estimator="biased"), expected, rtol=0, atol=1e-6)


def test_without_centring_the_planted_shifts_would_drown():
    means = 1000 + torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    assert cosine_similarity(means.numpy()).min() > 0.999
    assert float(task_mean_cosine(means, estimator="biased").min()) < 0


def test_a_task_on_the_grand_mean_is_undefined():
    means = torch.tensor([[1.0, 0.1], [-1.0, 0.1], [0.0, 0.1]])
    found = task_mean_cosine(means, estimator="biased")
    assert torch.isnan(found[2]).all()
    assert torch.isnan(found[:, 2]).all()
    assert found[0, 1] == pytest.approx(-1)


def drawn(prompts, seed):
    """States of six tasks, of which 0 and 1 have a true cosine of .75; 5 % of the variance lies between tasks."""
    generator = torch.Generator().manual_seed(seed)
    width, tasks = 200, 6
    directions = torch.linalg.qr(torch.randn(width, tasks, generator=generator, dtype=torch.float64))[0].T
    centres = directions - directions.mean(dim=0)
    second = centres[1] - centres[1] @ centres[0] / centres[0].square().sum() * centres[0]
    centres[1] = 0.75 * centres[0] + (1 - 0.75**2) ** 0.5 * second / second.norm() * centres[0].norm()
    between = (centres - centres.mean(dim=0)).square().sum(dim=1).mean()
    scale = (0.95 / 0.05 * between / width).sqrt()
    noise = scale * torch.randn(tasks, prompts, width, generator=generator, dtype=torch.float64)
    return centres, centres.unsqueeze(1) + noise


@pytest.mark.parametrize("prompts", [64, 256])
def test_the_debiased_cosine_does_not_depend_on_the_number_of_prompts(prompts):
    plain, debiased = [], []
    for seed in range(60):
        centres, states = drawn(prompts, seed)
        means = states.mean(dim=1)
        truth = float(task_mean_cosine(centres, estimator="biased")[0, 1])
        plain.append(float(task_mean_cosine(means, estimator="biased")[0, 1]) - truth)
        debiased.append(float(task_mean_cosine(means, mean_noise(states))[0, 1]) - truth)
    assert abs(np.nanmean(debiased)) <= 0.04
    assert np.mean(plain) <= -0.04


def test_means_no_farther_apart_than_their_noise_have_no_direction():
    states = torch.randn(3, 8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = task_mean_cosine(states.mean(dim=1), 100 * mean_noise(states))
    assert torch.isnan(found).all()
    expected = states.var(dim=1).sum(dim=-1) / 8
    torch.testing.assert_close(mean_noise(states), expected)


def cosines_of_close_tasks(margin, monkeypatch):
    """Twelve tasks as far from each other as their means' noise."""
    monkeypatch.setattr(task_similarity, "MARGIN", margin)
    generator = torch.Generator().manual_seed(0)
    scales = torch.arange(1, 17, dtype=torch.float64) ** -0.5
    found = []
    for _ in range(60):
        states = torch.randn(12, 16, 16, generator=generator, dtype=torch.float64)
        states = (states + 0.22 * torch.randn(12, 1, 16, generator=generator, dtype=torch.float64)) * scales
        cosines = task_mean_cosine(states.mean(dim=1), mean_noise(states))
        found.append(cosines[tuple(torch.triu_indices(12, 12, 1))])
    return torch.cat(found)


def test_no_cosine_is_divided_by_a_length_that_is_chance(monkeypatch):
    loose, strict = (cosines_of_close_tasks(margin, monkeypatch) for margin in (0.0, task_similarity.MARGIN))
    loose, strict = loose[loose.isfinite()], strict[strict.isfinite()]
    assert float((loose.abs() > 1.5).double().mean()) > 0.15
    assert float(loose.abs().max()) > 100
    assert float((strict.abs() > 1.5).double().mean()) < 0.06
    assert float(strict.abs().max()) < 3
    assert len(strict) > len(loose) / 2, "not bought by leaving most cells empty"


@pytest.mark.parametrize("noise", [None, torch.zeros(2), -torch.ones(3)])
def test_the_debiased_cosine_needs_the_noise_of_every_mean(noise):
    with pytest.raises(ValueError, match=r"Expected `noise` of shape \(3,\), 0 or more"):
        task_mean_cosine(torch.eye(3), noise)


def test_mean_cosine_refuses_malformed_input():
    with pytest.raises(ValueError, match=r"shape \(..., tasks, width\), got \(3,\)"):
        task_mean_cosine(torch.ones(3))
    with pytest.raises(ValueError, match="at least two tasks, got 1"):
        task_mean_cosine(torch.ones(1, 3))
    with pytest.raises(ValueError, match="NaN or infinite"):
        task_mean_cosine(torch.tensor([[1.0], [torch.nan]]))


def test_biased_overlap_equals_the_literal_formula(tolerances):
    generator = torch.Generator().manual_seed(0)
    states = [torch.randn(n, 6, generator=generator, dtype=torch.float64) + n for n in (10, 20, 15)]
    covariances = [np.cov(x.numpy().T) for x in states]
    found = covariance_overlap(states, "biased")
    for s, a in enumerate(covariances):
        for t, b in enumerate(covariances):
            expected = np.trace(a @ b) / np.linalg.norm(a) / np.linalg.norm(b)
            assert float(found[s, t]) == pytest.approx(expected, abs=tolerances.EXACT)


@pytest.mark.parametrize("shared", [0, 5, 10])
def test_overlap_of_planted_subspaces(shared):
    """Ten equally strong directions each, ``shared`` of them in common, far fewer examples than the width asks for."""
    generator = torch.Generator().manual_seed(shared)
    axes = torch.linalg.qr(torch.randn(200, 20, generator=generator)).Q
    first, second = axes[:, :10], axes[:, 10 - shared : 20 - shared]
    states = [torch.randn(n, 10, generator=generator) @ side.mT for n, side in ((60, first), (80, second))]
    assert float(covariance_overlap(states)[0, 1]) == pytest.approx(shared / 10, abs=0.1)


def test_only_the_debiased_overlap_finds_equal_covariances_from_few_examples():
    generator = torch.Generator().manual_seed(0)
    states = [torch.randn(40, 400, generator=generator) for _ in range(2)]
    assert float(covariance_overlap(states)[0, 1]) == pytest.approx(1.0, abs=0.15)
    assert float(covariance_overlap(states, "biased")[0, 1]) < 0.2


def test_overlap_over_layers_and_unequal_numbers_of_examples():
    generator = torch.Generator().manual_seed(0)
    states = [torch.randn(2, n, 6, generator=generator) for n in (10, 13)]
    found = covariance_overlap(states)
    assert found.shape == (2, 2, 2)
    torch.testing.assert_close(found[1], covariance_overlap([x[1] for x in states]))


def test_a_constant_task_has_no_overlap_to_speak_of():
    x = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    found = covariance_overlap([x, x + 1, torch.full((10, 3), 7.3)])
    assert torch.isnan(found[2]).all()
    assert float(found[0, 1]) > 0.9


def test_specialists_agree_with_pairwise_cka(tolerances):
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randn(2, 30, 8, generator=generator, dtype=torch.float64)
    states = [prompts + s * torch.randn(2, 30, 8, generator=generator, dtype=torch.float64) for s in (0, 0.5, 2)]
    for estimator in ("debiased", "biased"):
        found = specialist_cka(states, estimator)
        assert found.shape == (2, 3, 3)
        for s in range(3):
            for t in range(3):
                expected = linear_cka(states[s], states[t], estimator=estimator)
                torch.testing.assert_close(found[:, s, t], expected, rtol=0, atol=tolerances.EXACT, check_dtype=False)


@pytest.mark.parametrize("measure", [covariance_overlap, specialist_cka])
def test_refuse_malformed_input(measure):
    x = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="two or more sets of hidden states, got 1"):
        measure([x])
    with pytest.raises(ValueError, match="`estimator`"):
        measure([x, x], estimator="unbiased")
    with pytest.raises(ValueError, match=r"has 3 examples .* at least 4"):
        measure([x[:3], x[:3]])
    with pytest.raises(ValueError, match=r"non-finite values .* in rows"):
        measure([x, x / 0])


def test_what_may_differ_between_sides():
    x = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="same layers and width"):
        covariance_overlap([x, x[:, :2]])
    with pytest.raises(ValueError, match=r"states\[1\]` must hold the same examples"):
        specialist_cka([x, x[:8]])
