import math

import numpy as np
import pytest
import torch

from lightning_layerscope.advice import Selection, find_targets, top_layers, weights_of
from lightning_layerscope.advice.selectors import (
    all_layers,
    best_conditioned,
    condition_ranking,
    first_layers,
    largest_gradients,
    last_layers,
    least_similar_to_input,
    middle_band,
    most_missed,
    most_moved,
    most_moved_per_update,
    most_similar_to_input,
    random_layers,
    signal_to_noise,
    strongest_signal,
)

SCORES = [0.3, 0.9, 0.1, 0.7, 0.5]


@pytest.mark.parametrize("rule", [largest_gradients, most_moved, most_moved_per_update, most_missed])
def test_rules_with_scores_take_the_highest(rule):
    found = rule(SCORES, 2)
    assert found.layers == (2, 4)
    assert found.scores == tuple(SCORES)


def test_the_two_neighbour_rules_are_each_others_inverse():
    similarity = [math.nan, 0.9, 0.2, 0.6, 0.4]
    assert least_similar_to_input(similarity, 2).layers == (3, 5)
    assert most_similar_to_input(similarity, 2).layers == (2, 4)


def test_rules_by_place():
    assert first_layers(5, 2).layers == (1, 2)
    assert last_layers(5, 2).layers == (4, 5)
    assert all_layers(5).layers == (1, 2, 3, 4, 5)
    assert middle_band(5).layers == (1, 2, 3, 4)
    assert middle_band(15).layers == tuple(range(3, 13))
    assert middle_band(32).layers == tuple(range(7, 27))


def test_random_layers_depend_on_the_seed_alone():
    drawn = [random_layers(18, 6, seed).layers for seed in range(4)]
    assert drawn == [random_layers(18, 6, seed).layers for seed in range(4)]
    assert len(set(drawn)) == 4
    counts = np.bincount([layer for seed in range(600) for layer in random_layers(6, 2, seed).layers], minlength=7)[1:]
    assert counts.min() > 150


def test_no_layer_without_a_score_is_chosen():
    with pytest.raises(ValueError, match="cannot choose 3 layers: 2 of 3 have a score"):
        top_layers([0.1, math.nan, 0.2], 3)


def test_equal_scores_go_to_the_earlier_layer():
    assert top_layers([0.5, 0.5, 0.5], 2) == (1, 2)


def spectrum_by_numpy(weight):
    values = np.linalg.svd(weight.double().numpy(), compute_uv=False)
    rows, columns = sorted(weight.shape)
    sigma = (np.percentile(values, 75) - np.percentile(values, 25)) / 1.349
    edge = sigma * (1 + np.sqrt(rows / columns))
    return values[values > edge].sum() / values[values <= edge].sum() / values.max()


@pytest.mark.parametrize("shape", [(60, 60), (80, 30), (30, 80)])
def test_signal_to_noise_equals_the_formula_in_numpy(shape):
    weight = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    assert signal_to_noise(weight) == pytest.approx(spectrum_by_numpy(weight), rel=1e-4)


def test_planted_signal_raises_the_layers_rank():
    generator = torch.Generator().manual_seed(2)
    noise = [torch.randn(40, 40, generator=generator) for _ in range(4)]
    # A few strong directions without one that outweighs all (the ratio is over the largest).
    axes = torch.linalg.qr(torch.randn(40, 40, generator=generator)).Q[:, :30]
    noise[2] = noise[2] * 0.05 + 8 * axes @ axes.mT
    ratios = [signal_to_noise(weight) for weight in noise]
    assert strongest_signal({"q": ratios}, 1).layers == (3,)


def test_kinds_of_matrices_are_ranked_apart():
    """One kind has a hundred times the ratios of the other; both count the same."""
    found = strongest_signal({"q": [100.0, 300.0, 200.0], "v": [3.0, 2.0, 1.0]}, 1)
    assert found.scores == (0.5, 0.75, 0.25)


class TestConditionNumbers:
    """Against numpy's condition numbers."""

    @pytest.fixture
    def planted(self, family):
        model, kinds, stack = family
        targets = find_targets(model, kinds, stack)
        weights = weights_of(model, targets)
        for place, weight in enumerate(weights.values()):
            u, _, v = torch.linalg.svd(weight, full_matrices=False)
            # Condition numbers 2, 7, 12, ... in a shuffled order.
            worst = 2 + 5 * ((3 * place) % len(weights))
            weight.copy_(u @ torch.diag(torch.linspace(worst, 1, len(v))) @ v)
        return targets, weights

    def test_the_best_matrices_are_taken_until_the_budget_is_spent(self, planted):
        targets, weights = planted
        ranking = condition_ranking(weights)
        sizes = {module.name: module.size for module in targets.modules}
        order = sorted(weights, key=lambda name: np.linalg.cond(weights[name].numpy()))
        budget = 2 * sum(sizes[name] for name in order[:3])
        assert list(ranking) == order
        found = best_conditioned(targets, ranking, budget, rank=2)
        assert set(found.modules) == set(order[:3])
        assert found.layers == tuple(sorted({m.layer for m in targets.modules if m.name in found.modules}))

    def test_too_small_a_budget_is_refused(self, planted):
        with pytest.raises(ValueError, match="less than one matrix"):
            best_conditioned(planted[0], condition_ranking(planted[1]), budget=1, rank=2)

    def test_a_ranking_of_other_matrices_is_refused(self, planted):
        with pytest.raises(ValueError, match="expected a ranking of the"):
            best_conditioned(planted[0], [], budget=1000, rank=2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: first_layers(3, 4), "between 1 and 3, got 4"),
        (lambda: last_layers(3, 0), "between 1 and 3, got 0"),
        (lambda: random_layers(3, 4), "between 1 and 3, got 4"),
        (lambda: middle_band(10, 0.8, 0.2), "low < high"),
        (lambda: signal_to_noise(torch.ones(3)), "floating matrix"),
        (lambda: strongest_signal({"q": [1.0], "v": [1.0, 2.0]}, 1), "same layers"),
        (lambda: Selection("mine", (3, 2)), "ascending"),
    ],
)
def test_refuses_what_does_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()
