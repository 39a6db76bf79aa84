"""PEFT models of every kind: LoRA, DoRA, prompt, p- and prefix tuning, adapters switched and off."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

import lightning_layerscope as ls
from lightning_layerscope.compat.peft import merged_layers
from lightning_layerscope.extraction import ModelChangedError, no_trace
from lightning_layerscope.monitor.adapters import adapters_off
from lightning_layerscope.probes import Probe, ProbeSet

peft = pytest.importorskip("peft", reason="needs peft")


CONFIGS: dict[str, Any] = {
    "lora": lambda: peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False),
    "dora": lambda: peft.LoraConfig(r=2, target_modules=["q_proj"], use_dora=True, init_lora_weights=False),
    "prompt": lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5),
    "p-tuning": lambda: peft.PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=4, encoder_hidden_size=8),
    "prefix": lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
}


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=96,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            pad_token_id=0,
        )
    )


def make_probes(choice: Any = "last_prompt") -> ProbeSet:
    generator = torch.Generator().manual_seed(1)
    start = tuple(range(10, 20))
    rest = [tuple(torch.randint(5, 90, (n,), generator=generator).tolist()) for n in (3, 8, 1, 5)]
    ids = tuple(start + r for r in rest)
    return ProbeSet([Probe("a", "x", ("0", "1", "2", "3"), ("p", "q", "r", "s"), ids)], token_choice=choice)


def alone(model: Any, ids: tuple[int, ...], pool: Any) -> Tensor:
    """By plain hooks on one unpadded prompt; virtual positions, if any, stand in front."""
    kept: list[Tensor] = []
    layers = model.get_base_model().model.layers
    hooks = [layer.register_forward_hook(lambda m, args, out: kept.append(out[0])) for layer in layers]
    training = model.training
    model.eval()
    with torch.no_grad():
        model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long))
    model.train(training)
    for hook in hooks:
        hook.remove()
    return torch.stack([pool(hidden[-len(ids) :]) for hidden in kept])


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("choice", ["last_prompt", "mean_prompt"])
def test_states_equal_the_single_prompt(kind: str, choice: str) -> None:
    model, probes = peft.get_peft_model(llama(), CONFIGS[kind]()), make_probes(choice)
    model.train()
    states = ls.extract_hidden_states(model, probes)
    for row, ids in enumerate(probes["a"].input_ids):
        expected = alone(model, ids, (lambda h: h[-1]) if choice == "last_prompt" else (lambda h: h.mean(0)))
        torch.testing.assert_close(states["a"][:, row], expected, atol=1e-5, rtol=1e-5)
    base = ls.extract_hidden_states(llama(), probes)
    assert not torch.allclose(states["a"][-1], base["a"][-1], atol=1e-5)  # the adapter does something


@pytest.mark.parametrize("kind", CONFIGS)
def test_adapters_off_is_the_base_model_and_leaves_no_trace(kind: str) -> None:
    model, probes = peft.get_peft_model(llama(), CONFIGS[kind]()), make_probes()
    model.train()
    for name, parameter in model.named_parameters():  # as someone who trains only half of the adapter
        if "lora_A" in name:
            parameter.requires_grad_(False)
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    with ls.no_trace(model), model.disable_adapter():
        states = ls.extract_hidden_states(model, probes, share_prefix=False)
    assert torch.equal(states["a"], ls.extract_hidden_states(llama(), probes, share_prefix=False)["a"])
    assert {name: p.requires_grad for name, p in model.named_parameters()} == before
    assert all(module.training for module in model.modules())
    if kind in ("lora", "dora"):  # the counter-test: without the guard peft leaves requires_grad changed
        with model.disable_adapter():
            pass
        assert {name: p.requires_grad for name, p in model.named_parameters()} != before


def test_a_switched_adapter_is_the_one_measured() -> None:
    model, probes = peft.get_peft_model(llama(), CONFIGS["lora"]()), make_probes()
    first = ls.extract_hidden_states(model, probes)
    model.add_adapter("other", CONFIGS["lora"]())
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    with ls.no_trace(model):
        model.set_adapter("other")
        other = ls.extract_hidden_states(model, probes)
    assert model.active_adapter == "default"
    assert {name: p.requires_grad for name, p in model.named_parameters()} == before
    again = ls.extract_hidden_states(model, probes)
    assert torch.equal(first["a"], again["a"])
    assert not torch.allclose(first["a"], other["a"], atol=1e-5)


def merged() -> Any:
    model = peft.get_peft_model(llama(), CONFIGS["lora"]())
    model.merge_adapter()
    return model


def test_merged_adapters_are_measured_as_they_are() -> None:
    states = ls.extract_hidden_states(merged(), make_probes())
    expected = ls.extract_hidden_states(peft.get_peft_model(llama(), CONFIGS["lora"]()), make_probes())
    torch.testing.assert_close(states["a"], expected["a"], atol=1e-5, rtol=1e-5)


def test_merged_adapters_are_refused_where_they_would_have_to_be_switched_off() -> None:
    """A forward pass with them off takes them out of the weights by subtraction, which rounds."""
    model = merged()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"6 layers have theirs merged.*unmerge_adapter\(\)"), adapters_off(model):
        pass
    with model.disable_adapter(), pytest.raises(ValueError, match=r"6 layers have an adapter that is merged"):
        ls.extract_hidden_states(model, make_probes())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with (
        pytest.raises(ModelChangedError, match=r"base_layer\.weight' was changed"),
        no_trace(model),
    ):  # what it prevents
        run_switched_off(model)
    assert any(not torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert list(merged_layers(model))  # and PEFT's own flag came back, so that nothing told of it


def run_switched_off(model: Any) -> None:
    with model.disable_adapter():
        model(input_ids=torch.tensor([[5, 6]]))


def test_adapters_on_the_experts_of_a_mixture_are_measured() -> None:
    torch.manual_seed(0)
    config = transformers.MixtralConfig(
        vocab_size=96,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_local_experts=4,
    )
    settings = peft.LoraConfig(
        r=2, target_modules=["q_proj"], target_parameters=["mlp.experts.gate_up_proj"], init_lora_weights=False
    )
    model = peft.get_peft_model(transformers.MixtralForCausalLM(config), settings)
    before, names = {k: v.clone() for k, v in model.state_dict().items()}, [n for n, _ in model.named_parameters()]
    versions = sum(parameter._version for parameter in model.parameters())
    states = ls.extract_hidden_states(model, make_probes())
    assert sum(parameter._version for parameter in model.parameters()) > versions  # which would have been refused
    assert [name for name, _ in model.named_parameters()] == names
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with adapters_off(model):
        assert not torch.allclose(ls.extract_hidden_states(model, make_probes())["a"], states["a"], atol=1e-4)
