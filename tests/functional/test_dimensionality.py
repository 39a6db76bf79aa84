import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.decomposition import PCA

from lightning_layerscope.functional.dimensionality import components_for_variance, effective_rank, participation_ratio


@pytest.mark.parametrize("data", ["related", "wide"])
def test_equal_the_formulas_on_scikit_learns_spectrum(data, request, tolerances):
    x, _ = request.getfixturevalue(data)
    for layer, a in enumerate(x):
        pca = PCA(svd_solver="full").fit(a.numpy())
        variances, singular = pca.explained_variance_, pca.singular_values_
        expected = np.exp(entropy(singular / singular.sum()))
        assert float(effective_rank(x)[layer]) == pytest.approx(expected, abs=tolerances.EXACT)
        expected = variances.sum() ** 2 / (variances**2).sum()
        assert float(participation_ratio(x)[layer]) == pytest.approx(expected, abs=tolerances.EXACT)
        for share in (0.5, 0.9, 0.99):
            expected = PCA(n_components=share, svd_solver="full").fit(a.numpy()).n_components_
            assert int(components_for_variance(x, share)[layer]) == expected


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_finds_a_planted_rank(rank, tolerances):
    """Equally strong orthogonal directions hidden in a wide space: all three counts are the rank."""
    generator = torch.Generator().manual_seed(rank)
    ones = torch.ones(40, 1, dtype=torch.float64)
    scores = torch.linalg.qr(torch.cat([ones, torch.randn(40, rank, generator=generator, dtype=torch.float64)], 1)).Q
    axes = torch.linalg.qr(torch.randn(100, rank, generator=generator, dtype=torch.float64)).Q
    x = scores[:, 1:] @ axes.mT + 50
    assert float(effective_rank(x)) == pytest.approx(rank, abs=tolerances.EXACT)
    assert float(participation_ratio(x)) == pytest.approx(rank, abs=tolerances.EXACT)
    assert int(components_for_variance(x)) == rank
    assert int(components_for_variance(x, variance=1.0)) == rank


def test_an_outlier_dimension_fools_the_participation_ratio():
    x = torch.randn(100, 30, generator=torch.Generator().manual_seed(0))
    x[:, 0] *= 1000
    assert float(participation_ratio(x)) == pytest.approx(1.0, abs=1e-3)


def test_the_interpolated_count_lies_below_the_whole_one(wide):
    whole, fraction = (components_for_variance(wide[0], 0.9, interpolate=flag) for flag in (False, True))
    assert bool(((whole - 1 < fraction) & (fraction <= whole)).all())


def test_interpolation_is_exact_on_a_known_spectrum(tolerances):
    x = torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64))
    x = torch.cat([x, -x])  # shares .9 and .1
    assert float(components_for_variance(x, 0.45, interpolate=True)) == pytest.approx(0.5, abs=tolerances.EXACT)
    assert float(components_for_variance(x, 0.95, interpolate=True)) == pytest.approx(1.5, abs=tolerances.EXACT)


def test_refuses_an_impossible_share(wide):
    with pytest.raises(ValueError, match=r"`variance` in \(0, 1\]"):
        components_for_variance(wide[0], variance=99)
