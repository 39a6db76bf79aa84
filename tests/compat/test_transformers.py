"""What is known of transformers still holds; each test fails when transformers changes under it."""

import inspect
import logging
from typing import Any

import pytest
import torch
import transformers

from lightning_layerscope.compat.transformers import (
    attention_implementation,
    dtype_keyword,
    is_checkpointing_layer,
    is_conv1d,
    is_hub_adapter,
    is_pretrained,
    model_name,
    text_config,
)
from lightning_layerscope.compat.transformers_cache import (
    cache_keyword,
    new_prefix_cache,
    remembers_keys_and_values_only,
)
from lightning_layerscope.compat.transformers_rope import length_ropes

SHAPE = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 32}


def llama(**options: Any) -> Any:
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE, **options)).eval()


def test_models_layers_and_configurations_are_recognised(tmp_path: Any) -> None:
    model = llama()
    assert is_pretrained(model)
    assert not is_pretrained(model.model.layers[0])
    assert all(is_checkpointing_layer(layer) for layer in model.model.layers)
    assert not is_checkpointing_layer(model)
    assert text_config(model).num_hidden_layers == 2
    assert text_config(torch.nn.Linear(1, 1)) is None
    gpt = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=9))
    assert is_conv1d(gpt.transformer.h[0].attn.c_attn)
    assert not is_conv1d(model.lm_head)
    assert model_name(model) == ""
    model.save_pretrained(tmp_path)
    assert model_name(transformers.AutoModelForCausalLM.from_pretrained(tmp_path)) == str(tmp_path)


@pytest.mark.parametrize("kind", ["eager", "sdpa"])
def test_the_attention_implementation_is_read(kind: str) -> None:
    assert attention_implementation(llama(attn_implementation=kind)) == kind


def test_a_cache_of_ours_serves_a_prefix() -> None:
    model = llama()
    keyword = cache_keyword(inspect.signature(model.forward).parameters)
    assert keyword
    assert remembers_keys_and_values_only(model)
    cache, ids = new_prefix_cache(), torch.tensor([[3, 4, 5, 6]])
    with torch.no_grad():
        model(input_ids=ids[:, :3], use_cache=True, **{keyword: cache})
        assert cache.freeze(3, 2)
        rest = model(input_ids=ids[:, 3:], attention_mask=torch.ones(1, 4), use_cache=True, **{keyword: cache})
        torch.testing.assert_close(rest.logits[:, -1], model(input_ids=ids).logits[:, -1])


def test_layers_with_a_running_state_are_told() -> None:
    config = transformers.Qwen3NextConfig(**SHAPE, layer_types=["linear_attention", "full_attention"])
    holder = torch.nn.Module()
    holder.config = config
    assert not remembers_keys_and_values_only(holder)


def test_ropes_by_length_keep_the_names_of_their_parts() -> None:
    """Frequencies change with the length of a batch, and a reset forgets it."""
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    model = llama(max_position_embeddings=16, rope_parameters=rope)
    found = length_ropes(model)
    assert found is not None
    before = model.model.rotary_emb.inv_freq.clone()
    with torch.no_grad():
        model(input_ids=torch.ones(1, 30, dtype=torch.long))
    assert not torch.equal(model.model.rotary_emb.inv_freq, before)
    found.reset()
    assert torch.equal(model.model.rotary_emb.inv_freq, before)
    assert [found.regime(length) for length in (1, 16, 17, 30)] == [(0,), (0,), (17,), (30,)]
    assert length_ropes(llama()) is None


def test_ropes_of_kinds_of_layers_are_found() -> None:
    rope = {
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        "full_attention": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0},
    }
    config = transformers.Gemma3TextConfig(
        **SHAPE,
        head_dim=8,
        num_key_value_heads=1,
        max_position_embeddings=16,
        rope_parameters=rope,
        layer_types=list(rope),
    )
    model = transformers.Gemma3ForCausalLM(config).eval()
    found = length_ropes(model)
    assert found is not None
    assert found.regime(20) == (20,)
    rotary = model.model.rotary_emb
    before = rotary.full_attention_inv_freq.clone()
    with torch.no_grad():
        model(input_ids=torch.ones(1, 30, dtype=torch.long))
    assert not torch.equal(rotary.full_attention_inv_freq, before)
    found.reset()
    assert torch.equal(rotary.full_attention_inv_freq, before)


def test_adapters_are_told_from_models(tmp_path: Any) -> None:
    assert not is_hub_adapter(str(tmp_path))
    (tmp_path / "adapter_config.json").write_text("{}")
    assert is_hub_adapter(str(tmp_path))
    assert not is_hub_adapter("nobody/has-this-model")


def test_the_keyword_of_the_dtype_is_taken_without_a_word(tmp_path: Any, caplog: Any, monkeypatch: Any) -> None:
    llama().save_pretrained(tmp_path)
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    load = transformers.AutoModelForCausalLM.from_pretrained
    assert load(tmp_path, **{dtype_keyword(): torch.bfloat16}).dtype == torch.bfloat16
    assert "dtype" not in caplog.text
