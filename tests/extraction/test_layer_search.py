"""Finding layer stacks by structure, name and pattern."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from lightning_layerscope.extraction import find_layers


def llama(layers: int = 3) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=layers, num_attention_heads=2
        )
    )


class Holder(nn.Module):
    """As a LightningModule holds its model."""

    def __init__(self, **models: nn.Module) -> None:
        super().__init__()
        for name, model in models.items():
            self.add_module(name, model)


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Module()
        self.encoder.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.heads = nn.ModuleList(nn.Linear(4, 2) for _ in range(2))
        self.stages = nn.ModuleList(nn.ModuleDict({"mix": nn.Linear(4, 4)}) for _ in range(12))


def test_found_by_structure_with_width_and_embedding() -> None:
    model = llama()
    stack = find_layers(model)
    assert stack.names == ("model.layers.0", "model.layers.1", "model.layers.2")
    assert stack.modules == tuple(model.model.layers)
    assert (stack.num_layers, stack.width) == (3, 16)
    assert stack.embedding is model.model.embed_tokens


def test_found_through_wrappers() -> None:
    model = llama()
    held = find_layers(Holder(net=model))
    assert held.names[0] == "net.model.layers.0"
    assert held.modules == tuple(model.model.layers)
    assert held.embedding is model.model.embed_tokens
    compiled = find_layers(torch.compile(model, backend="eager"))
    assert compiled.modules == tuple(model.model.layers)


def test_two_models_must_be_told_apart() -> None:
    both = Holder(student=llama(2), teacher=llama(3))
    with pytest.raises(
        ValueError, match=r"several layer stacks: student\.model\.layers, teacher\.model\.layers.*layer_modules="
    ):
        find_layers(both)
    assert find_layers(both, "teacher.model.layers").num_layers == 3


def test_an_expert_list_as_long_as_the_stack_is_no_stack() -> None:
    model = llama(2)
    for layer in model.model.layers:
        layer.mlp.experts = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))
    assert find_layers(model).names == ("model.layers.0", "model.layers.1")


def test_named_by_full_name_or_its_end() -> None:
    model = Plain()
    assert find_layers(model, "encoder.blocks").modules == tuple(model.encoder.blocks)
    assert find_layers(Holder(net=model), "blocks").names[2] == "net.encoder.blocks.2"


def test_named_by_pattern_in_the_order_of_the_model() -> None:
    names = find_layers(Plain(), "stages.*.mix").names
    assert names == tuple(f"stages.{i}.mix" for i in range(12))  # 10 after 9, not after 1


def test_named_by_modules() -> None:
    model = Plain()
    assert find_layers(model, list(model.encoder.blocks)[::-1]).names[0] == "encoder.blocks.2"
    with pytest.raises(ValueError, match=r"layer_modules\[0\] \(Linear\) is not a module of Plain"):
        find_layers(model, [nn.Linear(1, 1)])
    with pytest.raises(ValueError, match="the same module twice"):
        find_layers(model, [model.heads[0], model.heads[0]])
    with pytest.raises(ValueError, match="is empty"):
        find_layers(model, [])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, r"Found no layer stack in Plain.*encoder\.blocks \(3\), heads \(2\), stages \(12\)"),
        ("nowhere", r"'nowhere' fits no module of Plain.*encoder\.blocks \(3\)"),
        ("encoder", "is a Module, not a ModuleList"),
        ("nowhere.*", r"No module of Plain matches 'nowhere\.\*'"),
    ],
)
def test_what_cannot_be_found_is_said_with_candidates(name: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_layers(Plain(), name)


def test_ambiguous_ends_and_patterns_are_refused() -> None:
    both = Holder(one=Plain(), two=Plain())
    with pytest.raises(ValueError, match=r"fits several modules: one\.heads, two\.heads"):
        find_layers(both, "heads")
    with pytest.raises(ValueError, match=r"several places of Holder, from 'one\.heads\.0' to 'two\.heads\.1'"):
        find_layers(both, "heads.*")
