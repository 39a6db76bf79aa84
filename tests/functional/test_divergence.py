import pytest
import torch
from scipy.special import log_softmax
from scipy.stats import entropy

from lightning_layerscope.functional import divergence as module
from lightning_layerscope.functional import next_token_kl, top_words, top_words_kl


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(0)
    reference = 3 * torch.randn(5, 300, generator=generator)
    return reference, reference + torch.randn(5, 300, generator=generator)


def by_scipy(reference, current):
    p, q = (torch.tensor(log_softmax(side.double().numpy(), axis=1)).exp().numpy() for side in (reference, current))
    return torch.tensor(entropy(p, q, axis=1))


def test_equals_scipys_relative_entropy(logits, tolerances):
    assert torch.allclose(next_token_kl(*logits), by_scipy(*logits), atol=tolerances.EXACT)


def test_pieces_change_nothing(logits, monkeypatch):
    whole, stored = next_token_kl(*logits), top_words(logits[0], kept=20)
    monkeypatch.setattr(module, "BLOCK", 600)
    assert torch.equal(next_token_kl(*logits), whole)
    assert torch.equal(top_words(logits[0], kept=20).words, stored.words)


def test_stored_words_give_scipys_value_over_the_grouped_outcomes(logits, tolerances):
    reference, current = logits
    stored = top_words(reference, kept=40)
    p, q = (side.double().softmax(dim=1) for side in logits)
    grouped = []
    for side in (p, q):
        own = side.gather(1, stored.words)
        grouped.append(torch.cat([own, 1 - own.sum(dim=1, keepdim=True)], dim=1).numpy())
    expected = torch.tensor(entropy(*grouped, axis=1))
    assert torch.allclose(top_words_kl(stored, current), expected, atol=tolerances.EXACT)


def test_storing_fewer_words_never_raises_the_divergence(logits):
    exact = next_token_kl(*logits)
    bounds = [top_words_kl(top_words(logits[0], kept=kept), logits[1]) for kept in (1, 10, 100, 299)]
    for lower, higher in zip([*bounds, exact][:-1], [*bounds, exact][1:], strict=True):
        assert bool((lower <= higher + 1e-6).all())
    assert bool((bounds[0] < exact - 1e-3).all())


def test_equal_distributions_diverge_by_nothing_at_any_offset(logits):
    reference, _ = logits
    assert bool((next_token_kl(reference, reference + 40).abs() < 1e-5).all())
    assert bool((next_token_kl(reference, 1.5 * reference) > 1e-3).all())


def test_a_word_ruled_out_is_infinitely_far_one_way_only():
    both, one = torch.zeros(1, 2), torch.tensor([[0.0, -torch.inf]])
    assert torch.isinf(next_token_kl(both, one))
    assert float(next_token_kl(one, both)) == pytest.approx(0.6931, abs=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: next_token_kl(torch.ones(2), torch.ones(2)), r"\(rows, words\)"),
        (lambda: next_token_kl(torch.ones(2, 3), torch.ones(2, 4)), "same rows and words"),
        (lambda: next_token_kl(torch.full((2, 3), torch.nan), torch.ones(2, 3)), "NaN"),
        (lambda: top_words(torch.ones(2, 3), kept=3), "between 1 and 2"),
        (lambda: top_words_kl(top_words(torch.ones(2, 9), kept=3), torch.ones(3, 9)), "same rows and vocabulary"),
    ],
)
def test_refuses_what_does_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()
