"""Near copies among the prompts of a task."""

import random

import pytest

from lightning_layerscope import ProbeSet
from lightning_layerscope.probes.near_duplicates import near_duplicates
from lightning_layerscope.tasks import Example, Task, TaskCollection


def prompt(rng, words=30):
    return [rng.randrange(10, 5000) for _ in range(words)]


def test_near_copies_are_grouped_by_their_template():
    rng = random.Random(0)
    templates = [prompt(rng) for _ in range(16)]
    prompts = [[*template[:-2], rng.randrange(5000, 9000), template[-1]] for template in templates for _ in range(4)]
    order = list(range(64))
    rng.shuffle(order)
    found = near_duplicates([prompts[position] for position in order])
    assert len(found) == 16
    assert all(len({order[position] // 4 for position in group}) == 1 and len(group) == 4 for group in found)


def test_a_long_instruction_that_all_prompts_share_makes_no_copies():
    rng = random.Random(0)
    instruction = prompt(rng, 100)
    assert near_duplicates([instruction + prompt(rng, 10) for _ in range(64)]) == []
    copy = instruction + prompt(rng, 10)
    others = [instruction + prompt(rng, 10) for _ in range(20)]
    assert near_duplicates([copy, *others, copy]) == [[0, 21]]


@pytest.mark.parametrize("prompts", [[], [[1]], [[1, 2], [2, 1]], [[1, 2, 3, 4], [5, 6, 7, 8]]])
def test_few_prompts_are_no_error(prompts):
    assert near_duplicates(prompts) == []


def test_pairs_are_those_of_an_exhaustive_comparison():
    rng = random.Random(1)
    prompts = []
    for _ in range(40):
        first = prompt(rng, 12)
        prompts += [first, [*first[:-1], rng.randrange(10, 5000)], [*first[:6], *prompt(rng, 6)]]
    sets = [set(ids) for ids in prompts]
    alike = {
        (i, j) for j in range(len(sets)) for i in range(j) if len(sets[i] & sets[j]) >= 0.8 * len(sets[i] | sets[j])
    }
    assert {tuple(group) for group in near_duplicates(prompts)} == alike


def test_comparisons_do_not_grow_with_the_square_of_the_prompts(monkeypatch):
    compared = []
    from lightning_layerscope.probes import near_duplicates as module

    original = module._alike
    monkeypatch.setattr(module, "_alike", lambda one, two: compared.append(1) or original(one, two))
    rng = random.Random(0)
    near_duplicates([prompt(rng) for _ in range(2000)])
    assert len(compared) < 2000 * 50


def test_probes_name_their_near_copies(make_tokenizer):
    texts = [" ".join(f"w{(17 * number + step) % 97}" for step in range(9)) for number in range(8)]
    rows = [Example("say", text, "", f"t/{number}") for number, text in enumerate(texts)]
    task = Task("plain", "a", {"test": (*rows, Example("say", texts[3] + " more", "", "t/copy"))})
    tokenizer = make_tokenizer(["say", *texts, "more"])
    probes = ProbeSet.from_tasks(TaskCollection([task]), tokenizer, min_examples=2, examples_per_task=None)
    (note,) = [note for note in probes.notes if "near copies" in note]
    assert "prompts of 1 task are near copies of another one of their task" in note
    assert "plain 1 of 9 (" in note
    assert "t/copy" in note
    assert "t/3" in note
    assert note in probes.summary()
