import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import pearsonr, rankdata, spearmanr

from lightning_layerscope.functional.rsa import average_ranks, rsa


@pytest.mark.parametrize("dissimilarity", ["euclidean", "correlation"])
@pytest.mark.parametrize(("correlation", "reference"), [("spearman", spearmanr), ("pearson", pearsonr)])
@pytest.mark.parametrize("data", ["related", "wide"])
def test_equals_scipy(dissimilarity, correlation, reference, data, request, tolerances):
    x, y = request.getfixturevalue(data)
    for a, b, value in zip(x, y, rsa(x, y, correlation, dissimilarity), strict=True):
        expected = reference(pdist(a.numpy(), dissimilarity), pdist(b.numpy(), dissimilarity))[0]
        assert float(value) == pytest.approx(expected, abs=tolerances.EXACT)


def test_ties_share_their_rank():
    values = torch.tensor([3.0, 1.0, 3.0, 3.0, 2.0, 1.0], dtype=torch.float64)
    assert average_ranks(values).tolist() == rankdata(values.numpy()).tolist()


def test_repeated_examples_are_ties(tolerances):
    x = torch.tensor([[0.0, 1.0], [0.0, 1.0], [2.0, 5.0], [2.0, 5.0], [7.0, 1.0]], dtype=torch.float64)
    y = torch.tensor([[1.0], [2.0], [4.0], [8.0], [16.0]], dtype=torch.float64)
    expected = spearmanr(pdist(x.numpy()), pdist(y.numpy()))[0]
    assert float(rsa(x, y)) == pytest.approx(expected, abs=tolerances.EXACT)


def test_spearman_ignores_a_monotone_distortion_that_pearson_feels():
    x = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert float(rsa(x, x**3)) == pytest.approx(1.0)
    assert float(rsa(x, x**3, correlation="pearson")) < 0.95


def test_undefined_where_an_example_is_constant_over_the_width():
    x = torch.tensor([[1.0, 1.0], [1.0, 2.0], [3.0, 1.0], [0.0, 2.0]])
    assert torch.isnan(rsa(x, x, dissimilarity="correlation"))


def test_refuses_unknown_options(related):
    with pytest.raises(ValueError, match="`correlation`"):
        rsa(*related, correlation="kendall")
    with pytest.raises(ValueError, match="`dissimilarity`"):
        rsa(*related, dissimilarity="cosine")
