import pytest
import torch
from sklearn.metrics import calinski_harabasz_score, silhouette_score
from sklearn.neighbors import NearestNeighbors

from lightning_layerscope.functional.separability import knn_purity, scatter_ratio, silhouette


def test_scatter_ratio_equals_scikit_learn(clustered, tolerances):
    x, labels = clustered
    expected = [calinski_harabasz_score(a.numpy(), labels.numpy()) * 2 / (45 - 3) for a in x]
    assert scatter_ratio(x, labels).tolist() == pytest.approx(expected, abs=tolerances.EXACT)


def test_silhouette_equals_scikit_learn(clustered, tolerances):
    x, labels = clustered
    expected = [silhouette_score(a.numpy(), labels.numpy()) for a in x]
    assert silhouette(x, labels).tolist() == pytest.approx(expected, abs=tolerances.EXACT)


@pytest.mark.parametrize("k", [1, 5, 10])
def test_purity_equals_scikit_learns_neighbours(k, clustered, tolerances):
    x, labels = clustered
    for a, value in zip(x, knn_purity(x, labels, k), strict=True):
        nearest = NearestNeighbors(n_neighbors=k).fit(a.numpy()).kneighbors(return_distance=False)
        same = (labels[torch.from_numpy(nearest)] == labels.unsqueeze(1)).double().mean(1)
        expected = torch.stack([same[labels == task].mean() for task in range(3)]).mean()
        assert float(value) == pytest.approx(float(expected), abs=tolerances.EXACT)


def test_planted_tasks_stand_out_against_shuffled_labels():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 4
    x = 6 * torch.randn(4, 50, generator=generator)[labels] + torch.randn(120, 50, generator=generator)
    shuffled = labels[torch.randperm(120, generator=generator)]
    assert float(knn_purity(x, labels)) == 1.0
    assert float(knn_purity(x, shuffled)) == pytest.approx(29 / 119, abs=0.08)
    assert float(silhouette(x, labels)) > 0.7
    assert float(silhouette(x, shuffled)) < 0.05
    assert float(scatter_ratio(x, labels)) > 10
    assert float(scatter_ratio(x, shuffled)) == pytest.approx(3 / 116, rel=0.9)


def test_every_task_counts_equally():
    """A large pure task must not hide a small mixed one."""
    x = torch.cat([torch.linspace(0, 1, 40), torch.tensor([100.0, 102.0, 101.0, 103.0])]).unsqueeze(1)
    labels = torch.tensor([0] * 40 + [1, 1, 2, 2])
    assert float(knn_purity(x, labels, k=1)) == pytest.approx(1 / 3)


@pytest.mark.parametrize("measure", [scatter_ratio, knn_purity, silhouette])
def test_names_of_tasks_do_not_matter(measure, clustered):
    x, labels = clustered
    torch.testing.assert_close(measure(x, labels), measure(x, labels * 100 - 7))


@pytest.mark.parametrize("measure", [scatter_ratio, knn_purity, silhouette])
def test_refuses_bad_labels(measure, clustered):
    x, labels = clustered
    with pytest.raises(ValueError, match=r"one integer task label per example, shape \(45,\)"):
        measure(x, labels[:-1])
    with pytest.raises(ValueError, match="one integer task label"):
        measure(x, labels.double())
    with pytest.raises(ValueError, match="at least two, got 1"):
        measure(x, torch.zeros_like(labels))
    labels = labels.clone()
    labels[0] = 9
    with pytest.raises(ValueError, match="the smallest task has 1"):
        measure(x, labels)


def test_undefined_without_scatter():
    x, labels = torch.ones(6, 2), torch.tensor([0, 0, 0, 1, 1, 1])
    assert torch.isnan(scatter_ratio(x, labels))
    assert torch.isnan(silhouette(x, labels))
    assert torch.isnan(knn_purity(x, labels, k=2))
