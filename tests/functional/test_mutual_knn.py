import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from lightning_layerscope.functional.mutual_knn import mutual_knn


@pytest.mark.parametrize("k", [1, 5, 12])
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("data", ["related", "wide"])
def test_equals_scikit_learn(k, distance, data, request, tolerances):
    x, y = request.getfixturevalue(data)
    for a, b, value in zip(x, y, mutual_knn(x, y, k, distance), strict=True):
        sets = []
        for side in (a.numpy(), b.numpy()):
            side = side - side.mean(0)
            sets.append(NearestNeighbors(n_neighbors=k, metric=distance).fit(side).kneighbors(return_distance=False))
        expected = np.mean([len(set(i) & set(j)) / k for i, j in zip(*sets, strict=True)])
        assert float(value) == pytest.approx(expected, abs=tolerances.EXACT)


def test_chance_level():
    generator = torch.Generator().manual_seed(0)
    values = [mutual_knn(*torch.randn(2, 100, 10, generator=generator), k=10) for _ in range(20)]
    assert float(torch.stack(values).mean()) == pytest.approx(10 / 99, abs=0.01)


def test_undefined_where_an_example_has_no_direction():
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    assert torch.isnan(mutual_knn(x, x, k=1, distance="cosine"))
    assert not torch.isnan(mutual_knn(x, x, k=1, distance="euclidean"))


def test_refuses_too_many_neighbours(related):
    with pytest.raises(ValueError, match="mutual_knn with k=39 needs at least 41 examples, got 40"):
        mutual_knn(*related, k=39)
    with pytest.raises(ValueError, match="`k` of at least 1"):
        mutual_knn(*related, k=0)
    with pytest.raises(ValueError, match="`distance`"):
        mutual_knn(*related, distance="manhattan")
