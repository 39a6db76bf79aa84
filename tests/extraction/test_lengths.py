"""Models whose rotary embeddings depend on the length of a batch: every prompt has the states that it has alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Phi3Config, Phi3ForCausalLM

import lightning_layerscope as ls
from lightning_layerscope.extraction import passes, plan_batches, prefix
from lightning_layerscope.extraction.exactness import EquivalenceCache
from lightning_layerscope.extraction.target import find_target
from lightning_layerscope.probes import Probe, ProbeSet

ORIGINAL = 32  # the length of the "pretraining"
SHAPE = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "initializer_range": 0.4,  # so that attention matters
}


def phi(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    factors = {"short_factor": [1.0] * 4, "long_factor": [4.0, 8.0, 16.0, 32.0]}
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": ORIGINAL, **factors}
    config = Phi3Config(
        **SHAPE,
        max_position_embeddings=128,
        original_max_position_embeddings=ORIGINAL,
        rope_parameters=rope,
        bos_token_id=1,
        eos_token_id=2,
    )
    return Phi3ForCausalLM(config)


def dynamic(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    return LlamaForCausalLM(LlamaConfig(**SHAPE, max_position_embeddings=ORIGINAL, rope_parameters=rope))


MODELS: dict[str, Callable[[], Any]] = {"longrope": phi, "dynamic NTK": dynamic}
MIXED = (5, 9, 30, 32, 33, 40, 40, 64, 70)


def make_probes(lengths: tuple[int, ...], start: int = 4) -> ProbeSet:
    generator = torch.Generator().manual_seed(1)
    shared = torch.randint(5, 90, (start,), generator=generator).tolist()
    ids = tuple((*shared, *torch.randint(5, 90, (n - start,), generator=generator).tolist()) for n in lengths)
    names = tuple(str(i) for i in range(len(ids)))
    return ProbeSet([Probe("a", "", names, names, ids)])


def alone(make: Callable[[], Any], ids: tuple[int, ...]) -> torch.Tensor:
    """By transformers itself, on a model that has seen nothing else."""
    with torch.no_grad():
        states = make().eval()(torch.tensor([ids]), output_hidden_states=True).hidden_states
    return torch.stack([hidden[0, -1] for hidden in states[1:-1]])


def largest_deviation(make: Callable[[], Any], model: Any, probes: ProbeSet, **options: Any) -> float:
    states = ls.extract_hidden_states(model, probes, layers=[1, 2], **options)["a"]
    expected = torch.stack([alone(make, ids) for ids in probes["a"].input_ids], dim=1)
    return float(((states - expected).norm(dim=-1) / expected.norm(dim=-1)).max())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("max_tokens", [40, 200, 4096])
def test_states_equal_the_single_prompt(name: str, share: bool, max_tokens: int) -> None:
    make = MODELS[name]
    options = {"share_prefix": share, "max_tokens_per_batch": max_tokens}
    assert largest_deviation(make, make(), make_probes(MIXED), **options) < 1e-5


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("share", [True, False])
def test_what_was_found_on_short_prompts_does_not_hold_for_long_ones(name: str, share: bool) -> None:
    make = MODELS[name]
    model = make()
    short, long = make_probes((5, 9, 12, 30)), make_probes(MIXED)
    assert largest_deviation(make, model, short, share_prefix=share) < 1e-5
    assert largest_deviation(make, model, long, share_prefix=share) < 1e-5
    assert largest_deviation(make, model, short, share_prefix=share) < 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_without_the_regimes_the_states_are_others(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above can fail: mixed in one batch, as padding would be found exact on short prompts."""
    monkeypatch.setattr("lightning_layerscope.extraction.target.length_ropes", lambda model: None)
    monkeypatch.setattr(passes.Passes, "_check_padding", lambda *_: True)
    make = MODELS[name]
    assert largest_deviation(make, make(), make_probes(MIXED), share_prefix=False) > 0.05


def test_a_training_batch_before_does_not_count_and_its_frequencies_come_back() -> None:
    model = dynamic()
    model(torch.randint(5, 90, (1, 90)))
    rope = model.model.rotary_emb
    frequencies, length = rope.inv_freq, rope.max_seq_len_cached
    value = frequencies.clone()
    assert largest_deviation(dynamic, model, make_probes(MIXED)) < 1e-5
    assert rope.inv_freq is frequencies
    assert torch.equal(rope.inv_freq, value)
    assert rope.max_seq_len_cached == length


def test_short_prompts_still_share_batches_and_prefixes() -> None:
    for make in MODELS.values():
        regime = find_target(make()).regime
        assert regime is not None
        batches = plan_batches(make_probes((8, 12, 30, 31, 40, 41)), 4096, share_prefix=True, regime=regime)
        assert sorted(len(batch.rows) for batch in batches) == ([2, 4] if make is phi else [1, 1, 4])
        assert [len(batch.rows) for batch in batches if batch.prefix] == [4]
    assert find_target(LlamaForCausalLM(LlamaConfig(**SHAPE))).regime is None


def test_a_length_that_an_unknown_model_treats_otherwise_is_found_out_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its padding is tried again for every class of lengths."""
    monkeypatch.setattr("lightning_layerscope.extraction.target.length_ropes", lambda model: None)
    model = phi()
    assert largest_deviation(phi, model, make_probes((5, 9, 12, 30)), share_prefix=False) < 1e-5
    with pytest.warns(RuntimeWarning, match="other hidden states when a prompt is padded"):
        off = largest_deviation(phi, model, make_probes((5, 9, 12, 30, 60)), share_prefix=False)
    assert off < 1e-5


def test_the_cache_keeps_classes_of_lengths_apart_and_a_failure_holds_for_all() -> None:
    target, cache = find_target(dynamic()), EquivalenceCache()
    assert cache.get(target, 40, 20) is None
    cache.set(target, True, 40, 20)
    assert cache.get(target, 64, 17) is True
    assert cache.get(target, 65, 20) is None
    assert cache.get(target, 40, 16) is None
    cache.set(target, False, 100, 3)
    assert cache.get(target, 40, 20) is False
    assert passes._IGNORES_PADDING is not prefix._EXACT
