"""extract_hidden_states: options, wrappers, errors, and what happens when memory or numbers fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import lightning_layerscope as ls
from lightning_layerscope.extraction import Capture, find_layers, select_tokens
from lightning_layerscope.probes import Probe, ProbeSet


def llama(**settings: Any) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = {
        "vocab_size": 96,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "pad_token_id": 0,
    }
    return LlamaForCausalLM(LlamaConfig(**{**config, **settings}))


def make_probes(choice: Any = "last_prompt", prefix: int = 12) -> ProbeSet:
    generator = torch.Generator().manual_seed(1)

    def draw(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(5, 90, (count,), generator=generator).tolist())

    start = draw(prefix)
    prompts = {"a": [start + draw(n) for n in (3, 7, 4, 5, 9, 3)], "b": [draw(n) for n in (4, 20, 6)]}
    clusters = {"a": "x", "b": "y"}
    probes = []
    for task, ids in prompts.items():
        names = tuple(f"{task}/test/{i}" for i in range(len(ids)))
        probes.append(Probe(task, clusters[task], names, names, tuple(ids)))
    return ProbeSet(probes, token_choice=choice)


def reference(model: Any, ids: tuple[int, ...], pool: Callable[[Tensor], Tensor]) -> Tensor:
    """Layers 0..L-1 of one unpadded prompt, as transformers itself gives them (its L has gone through the norm)."""
    model.eval()
    with torch.no_grad():
        states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[:-1]
    return torch.stack([pool(hidden[0]) for hidden in states])


POOLS: dict[Any, Callable[[Tensor], Tensor]] = {
    "last_prompt": lambda h: h[-1],
    "mean_prompt": lambda h: h.mean(0),
    "first_3": lambda h: h[:3].mean(0),
    (lambda mask: mask.float()): lambda h: h.sum(0),
}


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("choice", POOLS)
@pytest.mark.parametrize("max_tokens", [1, 40, None])
def test_equal_to_each_prompt_alone(choice: Any, share: bool, max_tokens: int | None) -> None:
    model, probes = llama(), make_probes(choice)
    states = ls.extract_hidden_states(
        model, probes, layers=[1, 2, 3], embeddings=True, share_prefix=share, max_tokens_per_batch=max_tokens
    )
    assert states.layers == (0, 1, 2, 3)
    for task, probe in probes.items():
        for row, ids in enumerate(probe.input_ids):
            torch.testing.assert_close(states[task][:, row], reference(model, ids, POOLS[choice]), atol=1e-5, rtol=1e-5)


def test_the_prefix_goes_through_the_model_once() -> None:
    model, probes = llama(), make_probes().select(["a"])
    lengths: list[tuple[int, int]] = []
    model.model.layers[0].register_forward_pre_hook(lambda m, args: lengths.append(tuple(args[0].shape[:2])))
    ls.extract_hidden_states(model, probes)
    assert lengths[:2] == [(1, 12), (6, 9)]
    assert lengths[2][0] == 3  # once per model: one prompt whole, to compare
    lengths.clear()
    ls.extract_hidden_states(model, probes)
    assert lengths == [(1, 12), (6, 9)]


def test_a_cache_that_is_not_exact_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model, probes = llama(), make_probes()
    expected = ls.extract_hidden_states(model, probes, share_prefix=False)
    monkeypatch.setattr(
        "lightning_layerscope.compat.transformers_cache._before",
        lambda p, s: torch.cat([p.expand(len(s), *p.shape[1:]) * 0, s], -2),
    )
    with pytest.warns(RuntimeWarning, match=r"LlamaForCausalLM gives other hidden states.*share_prefix=False"):
        states = ls.extract_hidden_states(model, probes)
    assert all(torch.allclose(states[task], expected[task], atol=1e-6) for task in states)


def test_a_model_that_looks_ahead_shares_nothing() -> None:
    model, probes = llama(), make_probes()

    def look_ahead(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        return output + 1e-3 * output.mean(1, keepdim=True)

    model.model.layers[1].mlp.register_forward_hook(look_ahead)
    sizes: list[int] = []
    model.model.layers[0].register_forward_pre_hook(lambda m, args: sizes.append(args[0].shape[:2].numel()))
    ls.extract_hidden_states(model, probes.select(["a"]), max_tokens_per_batch=80)
    assert max(sizes) <= 80  # whole prompts are longer than what was planned, the bound holds all the same
    states = ls.extract_hidden_states(model, probes.select(["a"]), max_tokens_per_batch=1)
    expected = reference(model, probes["a"].input_ids[0], POOLS["last_prompt"])
    torch.testing.assert_close(states["a"][:3, 0], expected[1:], atol=1e-6, rtol=1e-6)


def test_what_comes_with_the_states() -> None:
    model, probes = llama(), make_probes()
    seen: list[tuple[int, int]] = []
    states = ls.extract_hidden_states(
        model, probes, layers="2,4", dtype=torch.float16, device="model", progress=lambda *now: seen.append(now)
    )
    assert states.layers == (2, 4)
    assert states.num_layers == 4
    assert states.clusters == {"a": "x", "b": "y"}
    assert states.example_ids["b"] == ("b/test/0", "b/test/1", "b/test/2")
    assert (states.examples_digest, states.tokens_digest) == (probes.examples_digest, probes.tokens_digest)
    assert states.model_name == "LlamaForCausalLM"
    assert states["a"].dtype == torch.float16
    assert seen[-1] == (9, 9)


def test_dtype_is_the_models_unless_asked() -> None:
    assert ls.extract_hidden_states(llama().to(torch.bfloat16), make_probes())["a"].dtype == torch.bfloat16


def test_autocast_of_the_caller_applies() -> None:
    model, probes = llama(), make_probes()
    plain = ls.extract_hidden_states(model, probes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = ls.extract_hidden_states(model, probes)
    difference = max(float((plain[task].float() - cast[task].float()).abs().max()) for task in plain)
    assert 1e-6 < difference < 1e-2


def test_no_logits_are_computed() -> None:
    model, probes = llama(), make_probes()
    rows: list[int] = []
    model.lm_head.register_forward_hook(lambda m, args, out: rows.append(out.shape[1]))
    ls.extract_hidden_states(model, probes)
    assert rows == []
    ls.extract_hidden_states(model, probes, early_exit=False)
    assert set(rows) == {1}


def test_hooks_go_when_the_pass_fails() -> None:
    model = llama()
    count = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())

    def broken(module: nn.Module, *_: Any) -> None:
        raise OSError("broken")

    model.model.layers[2].mlp.register_forward_hook(broken)
    with pytest.raises(OSError, match="broken"):
        ls.extract_hidden_states(model, make_probes(), embeddings=True)
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()) == count + 1
    assert model.training


@pytest.mark.parametrize("share", [True, False])
def test_out_of_memory_halves_the_batch_and_tells(share: bool) -> None:
    model, probes = llama(), make_probes()
    expected = ls.extract_hidden_states(model, probes)
    sizes: list[int] = []

    def limited(module: nn.Module, args: Any) -> None:
        sizes.append(len(args[0]))
        if len(args[0]) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    model.model.layers[0].register_forward_pre_hook(limited)
    with pytest.warns(RuntimeWarning, match=r"ran out of memory; going on with \d.*max_tokens_per_batch"):
        states = ls.extract_hidden_states(model, probes, share_prefix=share)
    assert all(torch.allclose(states[task], expected[task], atol=1e-6) for task in states)
    assert max(sizes) > 3
    assert sizes.count(max(sizes)) == 1  # the size that failed is not tried again


def test_a_prompt_that_never_fits_is_named() -> None:
    model = llama()

    def never(module: nn.Module, args: Any) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried")

    model.model.layers[0].register_forward_pre_hook(never)
    with pytest.warns(RuntimeWarning), pytest.raises(torch.OutOfMemoryError, match=r"single prompt of \d+ tokens"):
        ls.extract_hidden_states(model, make_probes(), share_prefix=False)


def test_states_that_are_not_finite_name_task_example_and_layer() -> None:
    model, probes = llama(), make_probes()
    token = probes["b"].input_ids[1][0]
    model.model.layers[2].mlp.register_forward_hook(
        lambda m, args, out: out.masked_fill(out.new_tensor(len(out[0]) == 20).bool(), float("inf"))
    )
    assert token not in range(5)
    with pytest.raises(ValueError, match=r"task 'b', example 'b/test/1', layer 3 first \(1 of 3 prompts"):
        ls.extract_hidden_states(model, probes, max_tokens_per_batch=1)


def test_ids_beyond_the_embedding_are_refused_before_any_pass() -> None:
    model = llama(vocab_size=80)
    with pytest.raises(
        ValueError,
        match=r"Task 'b', example 'b/test/1': token id 86 lies outside the model's embedding of 80.*tokenizer",
    ):
        ls.extract_hidden_states(model, make_probes())


def test_prompts_beyond_a_learned_table_of_positions_are_refused() -> None:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=96, n_embd=32, n_layer=2, n_head=4, n_positions=16))
    with pytest.raises(ValueError, match=r"exceed the model's 16 positions \(transformer\.wpe\).*max_length"):
        ls.extract_hidden_states(model, make_probes())


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([5], r"must lie in 0\.\.4.*got \[5\]"),
        ([-1], r"got \[-1\]"),
        ([], "none is chosen"),
        ("first", "is not understood"),
        ("1-9", r"got \[5, 6, 7, 8, 9\]"),
    ],
)
def test_layers_that_do_not_exist_are_refused(layers: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ls.extract_hidden_states(llama(), make_probes(), layers=layers)


def test_an_unknown_device_word_is_refused() -> None:
    with pytest.raises(ValueError, match='device must be "cpu" or "model"'):
        ls.extract_hidden_states(llama(), make_probes(), device="cuda")  # type: ignore[arg-type]


class Plain(nn.Module):
    """Nothing of transformers in it; blocks return tuples."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, None]:
            return x + self.linear(x * mask[..., None]).tanh(), None

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Module()
        self.encoder.embed = nn.Embedding(96, 8)
        self.encoder.blocks = nn.ModuleList(self.Block() for _ in range(3))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        x = self.encoder.embed(batch["ids"])
        for block in self.encoder.blocks:
            x, _ = block(x, batch["mask"].to(x.dtype))
        return x


def run_plain(model: nn.Module, ids: Tensor, mask: Tensor) -> Any:
    return model({"ids": ids, "mask": mask})


@pytest.mark.parametrize("name", ["encoder.blocks", "blocks", "encoder.blocks.*"])
def test_plain_modules_by_name_and_forward(name: str) -> None:
    torch.manual_seed(0)
    model, probes = Plain(), make_probes()
    states = ls.extract_hidden_states(model, probes, layer_modules=name, forward=run_plain, embeddings=True)
    assert states.layers == (0, 1, 2, 3)
    ids = torch.tensor([probes["b"].input_ids[2]])
    with torch.no_grad():
        expected = run_plain(model, ids, torch.ones_like(ids))[0, -1]
    torch.testing.assert_close(states["b"][3, 2], expected)
    assert model.training


def test_plain_modules_say_what_is_missing() -> None:
    with pytest.raises(ValueError, match="Found no layer stack in Plain"):
        ls.extract_hidden_states(Plain(), make_probes(), forward=run_plain)
    with pytest.raises(ValueError, match=r"holds no transformers model around 'encoder\.blocks\.0'.*give forward="):
        ls.extract_hidden_states(Plain(), make_probes(), layer_modules="encoder.blocks")


def test_layers_that_do_not_run_or_give_something_else_are_said() -> None:
    model, probes = Plain(), make_probes()
    keywords: dict[str, Any] = {"layer_modules": "blocks"}
    with pytest.raises(RuntimeError, match=r"did not run layer 1 \(encoder\.blocks\.0\)"):
        ls.extract_hidden_states(model, probes, forward=lambda m, i, k: None, **keywords)
    with pytest.raises(RuntimeError, match=r"layer 1 \(encoder\.blocks\.0\) ran twice"):
        ls.extract_hidden_states(
            model,
            probes,
            forward=lambda m, i, k: [run_plain(m, i, k), run_plain(m, i, k)],
            early_exit=False,
            **keywords,
        )
    with pytest.raises(
        RuntimeError, match=r"layer 1 .* gave states of shape .* expected \(prompts, \d+ tokens, width\)"
    ):
        ls.extract_hidden_states(model, probes, forward=lambda m, i, k: run_plain(m, i[:, 1:], k[:, 1:]), **keywords)
    with pytest.raises(RuntimeError, match="gave a tensor of shape"):
        ls.extract_hidden_states(
            nn.ModuleDict({"a": nn.Sequential(nn.Flatten(), nn.Identity())}),
            probes,
            layer_modules="a",
            forward=lambda m, i, k: m["a"](i.float()),
        )


class Holder(nn.Module):
    """As a LightningModule holds its model: its own forward takes a batch."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.net = model

    def forward(self, batch: Any) -> Any:
        raise AssertionError("the package cannot know what this takes")


@pytest.mark.parametrize("wrap", [Holder, lambda m: torch.compile(m, backend="eager"), lambda m: Holder(Holder(m))])
def test_wrappers_change_nothing(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model, probes = llama(), make_probes()
    expected = ls.extract_hidden_states(model, probes)
    states = ls.extract_hidden_states(wrap(model), probes)
    assert all(torch.equal(states[task], expected[task]) for task in states)


def test_a_model_compiled_in_place_runs_eagerly() -> None:
    model, probes = llama(), make_probes()
    expected = ls.extract_hidden_states(model, probes)
    compilations: list[Any] = []
    model.compile(backend=lambda graph, inputs: compilations.append(graph) or graph.forward)
    states = ls.extract_hidden_states(model, probes)
    assert all(torch.equal(states[task], expected[task]) for task in states)
    assert not compilations


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_changes_nothing(reentrant: bool) -> None:
    model, probes = llama(), make_probes()
    expected = ls.extract_hidden_states(model, probes)
    if not hasattr(model, "activation_checkpointing_enable"):  # its name before transformers 5
        model.activation_checkpointing_enable = model.gradient_checkpointing_enable
    model.activation_checkpointing_enable({"use_reentrant": reentrant})
    model.train()
    states = ls.extract_hidden_states(model, probes)
    assert all(torch.equal(states[task], expected[task]) for task in states)


def test_a_sharded_or_offloaded_model_is_never_interrupted() -> None:
    model, probes = llama(), make_probes()
    ended: list[bool] = []
    model.register_forward_hook(lambda m, args, out: ended.append(True))
    ls.extract_hidden_states(model, probes)
    assert not ended
    model.model.layers[0]._hf_hook = object()  # accelerate marks offloaded modules so
    ls.extract_hidden_states(model, probes)
    assert ended


def test_an_offloaded_model_is_measured_where_it_computes() -> None:
    accelerate = pytest.importorskip("accelerate", reason="needs accelerate")
    model, probes = llama(), make_probes()
    expected = ls.extract_hidden_states(model, probes, share_prefix=False)
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    before = dict(model.named_parameters())
    states = ls.extract_hidden_states(model, probes, share_prefix=False)
    assert all(torch.equal(states[task], expected[task]) for task in expected)
    after = dict(model.named_parameters())
    assert all(parameter.is_meta and parameter is after[name] for name, parameter in before.items())


def test_capture_alone_over_a_pass_of_the_users_own() -> None:
    model, probes = llama().eval(), make_probes()
    ids = torch.tensor([probes["b"].input_ids[1]])
    with Capture(find_layers(model), [2, 4]) as capture, torch.no_grad():
        capture.select(select_tokens("last_prompt", torch.ones_like(ids)), tokens=ids.shape[1])
        model(ids, labels=ids)
        kept = capture.take()
    assert not any(m._forward_hooks for m in model.model.layers)
    torch.testing.assert_close(kept[0, 0], reference(model, probes["b"].input_ids[1], POOLS["last_prompt"])[2])


@pytest.mark.parametrize("pad", [96, 1000, -1])
def test_a_padding_id_beyond_the_embedding_is_not_looked_up(pad: int) -> None:
    """A tokenizer got a [PAD] and the embedding did not grow: masked positions may hold any id."""
    model, plain = llama(), llama()
    model.config.pad_token_id = pad
    states, expected = ls.extract_hidden_states(model, make_probes()), ls.extract_hidden_states(plain, make_probes())
    assert all(torch.equal(states[task], expected[task]) for task in expected)


@pytest.fixture
def float64_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def measured_values(model: nn.Module) -> Any:
    probes = make_probes().select(["a"])
    states = ls.extract_hidden_states(model, probes)
    bank = ls.ReferenceBank.from_states(states)
    moved = replace(states, tensors={task: tensor + 0.1 * tensor.roll(1, dims=1) for task, tensor in states.items()})
    matrices = [
        ls.compare(moved, bank, measure=measure).matrix()
        for measure in ("cka", "svcca", "rsa", "procrustes_similarity")
    ]
    return [*matrices, ls.take_measurement(states, bank, step=0).profile.matrix()]


def test_the_default_dtype_changes_no_number(request: pytest.FixtureRequest) -> None:
    model = llama()  # before the switch: its weights are drawn in the default dtype
    expected = measured_values(model)
    request.getfixturevalue("float64_by_default")
    for value, wanted in zip(measured_values(model), expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-6)


def test_a_capture_that_watches_keeps_its_errors_from_the_forward_pass() -> None:
    model, errors = llama().eval(), []
    ids = torch.tensor([[5, 6, 7]])
    with Capture(find_layers(model), [1, 2], on_error=errors.append) as capture, torch.no_grad():
        capture.select(select_tokens("last_prompt", torch.ones_like(ids)), tokens=2)  # one less than will come
        model(ids)
    assert [str(error).split(" gave")[0] for error in errors] == [f"layer {i} (model.layers.{i - 1})" for i in (1, 2)]
