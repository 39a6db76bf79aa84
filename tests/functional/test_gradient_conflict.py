import numpy as np
import pytest
import torch
from scipy.stats import t
from sklearn.metrics.pairwise import cosine_similarity

from lightning_layerscope.functional import gradient_conflict, sketch_gradient


def planted(directions, noise=0.3, groups=16, seed=0):
    """Tasks with known directions in 64 numbers, seen through noisy groups."""
    generator = torch.Generator().manual_seed(seed)
    return directions.unsqueeze(1) + noise * torch.randn(len(directions), groups, 64, generator=generator)


@pytest.fixture
def opposite():
    """Tasks 0 and 1 pull apart; task 2 stands across."""
    directions = torch.zeros(3, 64)
    directions[0, 0], directions[1, 0], directions[2, 1] = 3.0, -3.0, 3.0
    return planted(directions)


def test_finds_the_one_pair_that_pulls_apart(opposite):
    found = gradient_conflict(opposite)
    assert float(found.share) == pytest.approx(1 / 3)
    assert found.high[0, 1] < 0
    assert found.low[0, 2] < 0 < found.high[0, 2]


def test_the_cosines_are_scikit_learns(opposite, tolerances):
    expected = cosine_similarity(opposite.double().mean(dim=1).numpy())
    assert np.allclose(gradient_conflict(opposite).cosine.numpy(), expected, atol=tolerances.EXACT)


def test_the_interval_is_the_jackknifes_written_out(opposite, tolerances):
    groups = opposite.shape[1]
    left_out = []
    for group in range(groups):
        kept = np.delete(opposite.double().numpy(), group, axis=1).mean(axis=1)
        left_out.append(cosine_similarity(kept)[0, 2])
    spread = np.sqrt((groups - 1) / groups * ((left_out - np.mean(left_out)) ** 2).sum())
    expected = cosine_similarity(opposite.double().mean(dim=1).numpy())[0, 2] + t.ppf(0.95, groups - 1) * spread
    assert float(gradient_conflict(opposite).high[0, 2]) == pytest.approx(expected, abs=tolerances.EXACT)


def test_noise_alone_is_hardly_ever_called_a_conflict():
    """45 pairs of tasks without any direction, 20 times: a 90 % interval lies below zero in 5 % of the pairs."""
    shares = [float(gradient_conflict(planted(torch.zeros(10, 64), seed=seed)).share) for seed in range(20)]
    assert np.mean(shares) < 0.08
    signs = [(gradient_conflict(planted(torch.zeros(10, 64), seed=seed)).cosine < 0).double().mean() for seed in (0, 1)]
    assert np.mean(signs) > 0.3


def test_a_task_without_gradient_counts_in_no_share(opposite):
    silent = torch.cat([opposite, torch.zeros(1, *opposite.shape[1:])])
    assert float(gradient_conflict(silent).share) == pytest.approx(1 / 3)
    assert torch.isnan(gradient_conflict(torch.zeros(2, 4, 5)).share)


def test_a_sketch_keeps_cosines_and_forgets_nothing_of_its_seed():
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(200_000, generator=generator)
    y = 0.6 * x + 0.8 * torch.randn(200_000, generator=generator)
    a, b = sketch_gradient(x), sketch_gradient(y)
    exact = float(torch.nn.functional.cosine_similarity(x, y, dim=0))
    assert float(torch.nn.functional.cosine_similarity(a, b, dim=0)) == pytest.approx(exact, abs=0.07)
    assert torch.equal(a, sketch_gradient(x.reshape(400, 500)))
    assert not torch.equal(a, sketch_gradient(x, seed=1))
    assert float(sketch_gradient(x + y).sub(a + b).abs().max()) < 1e-3


@pytest.mark.parametrize("kind", ["independent", "of one rank", "of few entries"])
def test_products_of_sketches_scatter_no_more_than_the_source_says(kind):
    generator = torch.Generator().manual_seed(0)
    numbers, shape = 256, (700, 256)  # lines of a matrix that are lines of the sketch: the worst case
    x, y = torch.randn(2, *shape, generator=generator)
    if kind == "of one rank":
        x, y = (torch.outer(part[:, 0], part[0]) for part in (x, y))
        y = 0.8 * x / x.norm() + 0.6 * y / y.norm()
    elif kind == "of few entries":
        x, y = (part * (torch.rand(shape, generator=generator) < 3e-4) for part in (x, y))
    x, y = x / x.norm(), y / y.norm()
    pairs = [(sketch_gradient(x, numbers, seed), sketch_gradient(y, numbers, seed)) for seed in range(200)]
    errors = torch.tensor([float(a @ b) for a, b in pairs]) - float((x * y).sum())
    assert float(errors.square().mean().sqrt()) < 1.15 * (2 / numbers) ** 0.5
    assert abs(float(errors.mean())) < 4 * (2 / numbers) ** 0.5 / 200**0.5


def test_a_sketch_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    sketch_gradient(torch.ones(100))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gradient_conflict(torch.ones(1, 4, 5)), "tasks >= 2"),
        (lambda: gradient_conflict(torch.ones(2, 2, 5)), "groups >= 3"),
        (lambda: gradient_conflict(torch.full((2, 4, 5), torch.nan)), "not finite"),
        (lambda: sketch_gradient(torch.ones(3), numbers=0), "1 or more"),
    ],
)
def test_refuses_what_does_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_default_dtype_does_not_reach_the_sketch(dtype, request):
    gradient = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    expected = sketch_gradient(gradient, numbers=64)
    request.addfinalizer(lambda: torch.set_default_dtype(torch.float32))
    torch.set_default_dtype(dtype)
    found = sketch_gradient(gradient, numbers=64)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
