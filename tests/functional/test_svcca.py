import numpy as np
import pytest
import torch
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA

from lightning_layerscope.functional.svcca import svcca


def literal_svcca(x: np.ndarray, y: np.ndarray, variance: float) -> float:
    """Raghu et al. 2017 step by step: SVD, cut, whiten, SVD of the cross-covariance."""
    bases = []
    for side in (x, y):
        u, s, _ = np.linalg.svd(side - side.mean(0), full_matrices=False)
        kept = int(np.searchsorted(np.cumsum(s**2) / np.sum(s**2), variance)) + 1
        bases.append(u[:, :kept])
    return float(np.linalg.svd(bases[0].T @ bases[1], compute_uv=False).mean())


@pytest.mark.parametrize("variance", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("data", ["related", "wide"])
def test_equals_the_literal_formula(variance, data, request, tolerances):
    x, y = request.getfixturevalue(data)
    expected = [literal_svcca(a.numpy(), b.numpy(), variance) for a, b in zip(x, y, strict=True)]
    torch.testing.assert_close(
        svcca(x, y, variance), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=tolerances.EXACT
    )


def test_agrees_with_scikit_learn(related, tolerances):
    x, y = (side[0].numpy() for side in related)
    reduced = [PCA(n_components=0.9, svd_solver="full").fit_transform(side) for side in (x, y)]
    count = min(side.shape[1] for side in reduced)
    a, b = CCA(n_components=count, scale=False, max_iter=20_000, tol=1e-14).fit_transform(*reduced)
    expected = np.mean([np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(count)])
    assert float(svcca(related[0][0], related[1][0], variance=0.9)) == pytest.approx(expected, abs=tolerances.ITERATIVE)


@pytest.mark.parametrize("correlations", [(1.0, 0.0, 0.0), (0.9, 0.5, 0.1), (0.3, 0.3, 0.3)])
def test_finds_planted_canonical_correlations(correlations, tolerances):
    generator = torch.Generator().manual_seed(3)
    ones = torch.ones(30, 1, dtype=torch.float64)
    basis = torch.linalg.qr(torch.cat([ones, torch.randn(30, 6, generator=generator, dtype=torch.float64)], 1)).Q[:, 1:]
    c = torch.tensor(correlations, dtype=torch.float64)
    x, y = basis[:, :3], c * basis[:, :3] + (1 - c**2).sqrt() * basis[:, 3:]
    assert float(svcca(x, y, variance=1.0)) == pytest.approx(sum(correlations) / 3, abs=tolerances.EXACT)


def test_the_cut_removes_weak_directions(tolerances):
    generator = torch.Generator().manual_seed(4)
    shared = torch.randn(50, 2, generator=generator, dtype=torch.float64)
    noise = [1e-3 * torch.randn(50, 4, generator=generator, dtype=torch.float64) for _ in range(2)]
    x, y = (torch.cat([shared, side], 1) for side in noise)
    assert float(svcca(x, y, variance=0.99)) == pytest.approx(1.0, abs=1e-4)
    assert float(svcca(x, y, variance=1.0)) < 0.8


@pytest.mark.parametrize("variance", [0.0, -1.0, 1.01])
def test_refuses_an_impossible_share(variance, related):
    with pytest.raises(ValueError, match=r"`variance` in \(0, 1\]"):
        svcca(*related, variance=variance)
