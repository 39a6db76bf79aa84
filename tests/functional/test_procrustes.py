import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import procrustes as scipy_procrustes

from lightning_layerscope.functional.procrustes import procrustes_distance, procrustes_similarity


def padded(x: np.ndarray, width: int) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, width - x.shape[1])))


@pytest.mark.parametrize("data", ["related", "wide"])
def test_equals_scipy(data, request, tolerances):
    x, y = request.getfixturevalue(data)
    width = max(x.shape[-1], y.shape[-1])
    for a, b, similarity, distance in zip(x, y, procrustes_similarity(x, y), procrustes_distance(x, y), strict=True):
        a, b = padded(a.numpy(), width), padded(b.numpy(), width)
        # scipy also fits a scale, which leaves 1 - similarity^2.
        assert 1 - float(similarity) ** 2 == pytest.approx(scipy_procrustes(a, b)[2], abs=tolerances.EXACT)
        a, b = (side - side.mean(0) for side in (a, b))
        a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
        rotation, _ = orthogonal_procrustes(b, a)
        assert float(distance) == pytest.approx(np.linalg.norm(a - b @ rotation) ** 2, abs=tolerances.EXACT)


def test_known_overlap_of_subspaces(tolerances):
    """Two sides that share two of four equally strong orthogonal directions have similarity one half."""
    generator = torch.Generator().manual_seed(3)
    ones = torch.ones(30, 1, dtype=torch.float64)
    basis = torch.linalg.qr(torch.cat([ones, torch.randn(30, 6, generator=generator, dtype=torch.float64)], 1)).Q[:, 1:]
    assert float(procrustes_similarity(basis[:, :4], basis[:, 2:])) == pytest.approx(0.5, abs=tolerances.EXACT)
    assert float(procrustes_distance(basis[:, :4], basis[:, 2:])) == pytest.approx(1.0, abs=tolerances.EXACT)


def test_root_of_the_distance_obeys_the_triangle_inequality():
    generator = torch.Generator().manual_seed(5)
    for _ in range(20):
        a, b, c = (torch.randn(12, 4, generator=generator) for _ in range(3))
        ab, bc, ac = (procrustes_distance(*pair).sqrt() for pair in ((a, b), (b, c), (a, c)))
        assert ac <= ab + bc
