"""What is known of PEFT still holds; each test fails when PEFT changes under it."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lightning_layerscope.compat.peft import (
    forget_adapters,
    has_injected_adapters,
    is_peft_model,
    is_peft_wrapper,
    merged_layers,
    puts_something_before,
    switched_off,
    unmerging_layers,
    virtual_tokens,
)

peft = pytest.importorskip("peft", reason="needs peft: pip install peft")
IDS = torch.tensor([[5, 6, 7]])


def llama() -> Any:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=32, **shape))


def lora() -> Any:
    return peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)


def test_wrapped_and_injected_adapters_are_told_apart() -> None:
    wrapped, injected = peft.get_peft_model(llama(), lora()), llama()
    assert injected._hf_peft_config_loaded is False
    injected._hf_peft_config_loaded = True  # as add_adapter() sets it, which asks for a certain version of PEFT
    assert is_peft_model(wrapped)
    assert is_peft_wrapper(wrapped)
    assert not has_injected_adapters(wrapped)
    assert has_injected_adapters(injected)
    assert not is_peft_model(injected)
    assert not is_peft_model(llama())
    assert not has_injected_adapters(llama())


def test_merged_layers_and_those_that_a_pass_would_unmerge() -> None:
    model = peft.get_peft_model(llama(), lora())
    assert not list(merged_layers(model))
    model.merge_adapter()
    assert len(list(merged_layers(model))) == 2
    assert unmerging_layers(model) == []
    weight = model.get_base_model().model.layers[0].self_attn.q_proj.base_layer.weight
    before = weight.detach().clone()
    with model.disable_adapter():
        assert len(unmerging_layers(model)) == 2
        model(input_ids=IDS)
    assert not torch.equal(weight, before)  # that is why they are refused
    assert not list(merged_layers(model))


def test_switched_off_is_the_base_model_and_leaves_requires_grad_alone() -> None:
    model = peft.get_peft_model(llama(), lora()).eval()
    model.requires_grad_(False)
    before = [parameter.requires_grad for parameter in model.parameters()]
    with torch.no_grad(), switched_off(model):
        off = model(input_ids=IDS).logits
    with torch.no_grad():
        assert torch.equal(off, llama().eval()(input_ids=IDS).logits)
        assert not torch.equal(off, model(input_ids=IDS).logits)
    assert [parameter.requires_grad for parameter in model.parameters()] == before


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lora, (0, False)),
        (lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5), (5, True)),
        (lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3), (0, True)),
    ],
)
def test_virtual_tokens(make: Any, expected: tuple[int, bool]) -> None:
    model = peft.get_peft_model(llama(), make())
    assert (virtual_tokens(model), puts_something_before(model)) == expected
    assert (virtual_tokens(None), puts_something_before(llama())) == (0, False)


def test_a_model_that_was_unloaded_takes_a_first_adapter_again() -> None:
    bare = peft.get_peft_model(llama(), lora()).unload()
    bare.peft_config = {"default": lora()}  # as PEFT leaves it behind, depending on its version
    forget_adapters(bare)
    assert not hasattr(bare, "peft_config")
    assert list(peft.get_peft_model(bare, lora()).peft_config) == ["default"]
