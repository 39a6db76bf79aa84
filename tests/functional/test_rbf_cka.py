import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.preprocessing import KernelCenterer

from lightning_layerscope.functional import cka_from_grams, linear_cka
from lightning_layerscope.functional.rbf_cka import rbf_cka, rbf_gram


def kernel(x: np.ndarray, bandwidth: float) -> np.ndarray:
    distances = np.linalg.norm(x[:, None] - x[None], axis=-1)
    sigma = bandwidth * np.median(distances[np.triu_indices(len(x), 1)])
    return rbf_kernel(x, gamma=1 / (2 * sigma**2))


def biased(k: np.ndarray, m: np.ndarray) -> float:
    return float((KernelCenterer().fit_transform(k) * KernelCenterer().fit_transform(m)).sum())


def song(k: np.ndarray, m: np.ndarray) -> float:
    """The unbiased HSIC of Song et al. 2012, literally: kernels with zero diagonals and three sums."""
    k, m, n = k - np.diag(np.diag(k)), m - np.diag(np.diag(m)), len(k)
    one = np.ones(n)
    cross = np.trace(k @ m) + one @ k @ one * (one @ m @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * one @ k @ m @ one
    return float(cross / (n * (n - 3)))


@pytest.mark.parametrize("bandwidth", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("estimator", "hsic"), [("biased", biased), ("debiased", song)])
@pytest.mark.parametrize("data", ["related", "wide"])
def test_equals_the_literal_formula(bandwidth, estimator, hsic, data, request, tolerances):
    x, y = request.getfixturevalue(data)
    for a, b, value in zip(x, y, rbf_cka(x, y, estimator, bandwidth), strict=True):
        k, m = kernel(a.numpy(), bandwidth), kernel(b.numpy(), bandwidth)
        assert float(value) == pytest.approx(hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m)), abs=tolerances.EXACT)


def test_a_wide_kernel_is_linear(related):
    x, y = (side[0] for side in related)
    assert float(rbf_cka(x, y, bandwidth=100.0)) == pytest.approx(float(linear_cka(x, y)), abs=1e-3)


def test_sees_neighbourhoods_that_linear_cka_does_not():
    angle = torch.linspace(0, 6, 60, dtype=torch.float64)
    circle = torch.stack([angle.cos(), angle.sin()], 1)
    unrelated = circle[torch.randperm(60, generator=torch.Generator().manual_seed(0))]
    assert float(rbf_cka(circle, circle * torch.tensor([1.0, 3.0]))) > 0.5
    assert abs(float(rbf_cka(circle, unrelated))) < 0.1


def test_kept_grams_give_the_same_value(related):
    x, y = related
    torch.testing.assert_close(cka_from_grams(rbf_gram(x), rbf_gram(y)), rbf_cka(x, y))


def test_unrelated_sides_are_near_zero_only_when_debiased():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(64, 500, generator=generator) for _ in range(2))
    assert abs(float(rbf_cka(x, y))) < 0.05
    assert float(rbf_cka(x, y, estimator="biased")) > 0.8


def test_refuses_bad_options(related):
    with pytest.raises(ValueError, match="`bandwidth`"):
        rbf_cka(*related, bandwidth=0.0)
    with pytest.raises(ValueError, match="`estimator`"):
        rbf_cka(*related, estimator="unbiased")
