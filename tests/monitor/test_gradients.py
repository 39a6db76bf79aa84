"""Gradients of the tasks on the probes: what autograd gives on a copy, and no trace in the training's own."""

import copy

import numpy as np
import pytest
import torch

from lightning_layerscope.functional import sketch_gradient
from lightning_layerscope.monitor.gradients import NUMBERS, conflict_curve, groups_of, task_gradients
from lightning_layerscope.probes import Probe, ProbeSet


def two_words(answers):
    """Tasks on the same prompts of two words; task to the word that answers all of them."""
    prompts = tuple(tuple(int(bit) for bit in f"{number:04b}") for number in range(12))
    names = tuple(map(str, range(12)))
    probes = [
        Probe(task, "c", names, names, prompts, answers=tuple((word,) for _ in prompts))
        for task, word in answers.items()
    ]
    return ProbeSet(probes, vocab_size=2)


def by_hand(model, probe, group, groups):
    """Gradient of each layer in one go, rows alone, all logits."""
    other = copy.deepcopy(model).eval()
    rows = list(zip(probe.input_ids, probe.answers, strict=True))[group::groups]
    loss = 0
    for prompt, answer in rows:
        ids = torch.tensor([prompt + answer])
        logs = other(input_ids=ids).logits[0].log_softmax(-1)
        places = range(len(prompt) - 1, ids.shape[1] - 1)
        loss = loss - torch.stack([logs[place, ids[0, place + 1]] for place in places]).mean() / len(rows)
    loss.backward()
    return [
        torch.cat([p.grad.flatten() for p in layer.parameters() if p.requires_grad]) for layer in other.model.layers
    ]


def test_they_are_those_of_every_prompt_alone(tiny):
    model, probes = tiny.llama(hidden_size=8, intermediate_size=16), tiny.probes(tasks=2, examples=7, answers=3)
    found = task_gradients(model, probes, 3, max_tokens=40)
    for task, probe in probes.items():
        for group in range(3):
            for layer, expected in enumerate(by_hand(model, probe, group, 3)):
                own = found[task][group, layer]
                assert own.shape == (NUMBERS,)
                assert len(expected) < NUMBERS
                np.testing.assert_allclose(own[: len(expected)], expected.numpy(), rtol=1e-3, atol=1e-6)
                assert not own[len(expected) :].any()


def test_long_ones_are_projected_and_adapters_alone_are_read(tiny):
    peft = pytest.importorskip("peft")
    probes = tiny.probes(tasks=2, examples=6, answers=2)
    wide = tiny.llama(hidden_size=32, intermediate_size=64)
    expected = by_hand(wide, probes["t0"], 0, 3)[1]
    assert len(expected) > NUMBERS
    found = task_gradients(wide, probes, 3)["t0"][0, 1]
    np.testing.assert_allclose(found, sketch_gradient(expected, NUMBERS).numpy(), rtol=1e-3, atol=1e-5)
    settings = peft.LoraConfig(r=2, target_modules=["q_proj"], layers_to_transform=[1, 2], init_lora_weights=False)
    adapted = task_gradients(peft.get_peft_model(tiny.llama(), settings), probes, 3)["t0"]
    assert np.isnan(adapted[:, [0, 3]]).all()
    assert (np.count_nonzero(adapted[:, 1:3], axis=-1) == 2 * 2 * 16).all()


@pytest.mark.parametrize(("second", "share"), [(1, 1.0), (0, 0.0)])
def test_two_tasks_that_want_opposite_words_pull_every_layer_apart(tiny, second, share):
    model = tiny.llama(vocab_size=2)
    curve = conflict_curve(task_gradients(model, two_words({"a": 0, "b": second}), 6))
    np.testing.assert_array_equal(curve, np.full((3, 4), share))


def test_small_ones_are_not_lost_in_float16(tiny):
    model, probes = tiny.llama(hidden_size=8, intermediate_size=16), tiny.probes(tasks=1, examples=3, answers=3)
    with torch.no_grad():
        model.lm_head.weight *= 1e-4  # and so are all gradients before the head
    expected = task_gradients(model, probes, 3)["t0"]
    assert 0 < np.abs(expected).max() < 2**-14  # float16's smallest normal number
    with torch.autocast("cpu", torch.float16):
        found = task_gradients(model, probes, 3)["t0"]
    assert np.linalg.norm(found - expected) < 0.02 * np.linalg.norm(expected)


def test_large_ones_do_not_overflow_in_float16(tiny):
    model, probes = tiny.llama(hidden_size=8, intermediate_size=16), tiny.probes(tasks=1, examples=3, answers=3)
    with torch.no_grad():
        model.lm_head.weight *= 50
    expected = task_gradients(model, probes, 3)["t0"]
    assert np.abs(expected).max() > 2  # 2^17 when scaled: beyond float16
    with torch.autocast("cpu", torch.float16):
        found = task_gradients(model, probes, 3)["t0"]
    assert np.linalg.norm(found - expected) < 0.02 * np.linalg.norm(expected)


def test_nothing_of_the_trainings_own_is_touched(tiny):
    model = tiny.llama()
    model(input_ids=tiny.rows()[:4], labels=tiny.rows()[:4]).loss.backward()
    before = {name: p.grad.clone() for name, p in model.named_parameters()}
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    identities = {name: id(p) for name, p in model.named_parameters()}
    called = []
    model.lm_head.weight.register_hook(lambda gradient: called.append("tensor"))
    model.model.layers[0].self_attn.q_proj.weight.register_hook(lambda gradient: called.append("tensor"))
    model.model.layers[0].self_attn.q_proj.weight.register_post_accumulate_grad_hook(lambda p: called.append("after"))
    state = torch.get_rng_state()
    task_gradients(model, tiny.probes(tasks=2, examples=6, answers=2), 3)
    assert called == []
    assert {name: id(p) for name, p in model.named_parameters()} == identities
    assert {name: p.requires_grad for name, p in model.named_parameters()} == flags
    assert all(torch.equal(before[name], p.grad) for name, p in model.named_parameters())
    assert torch.equal(state, torch.get_rng_state())
    assert all(module.training for module in model.modules())


def test_few_prompts_make_no_groups(tiny):
    assert groups_of(tiny.probes(tasks=2, examples=2)) == 0
    assert groups_of(tiny.probes(tasks=2, examples=4)) == 4
    assert groups_of(tiny.probes(tasks=2, examples=12)) == 6
