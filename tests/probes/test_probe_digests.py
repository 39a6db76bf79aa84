"""What makes two probe sets the same."""

import pytest

from lightning_layerscope.probes import Probe, ProbeSet
from lightning_layerscope.tasks import Example, PromptTemplate, Task, TaskCollection


@pytest.fixture(scope="module")
def tasks(make_tasks):
    return make_tasks(alpha=100, beta=80, gamma=40)


@pytest.fixture(scope="module")
def tokenizer(make_tokenizer, tasks):
    return make_tokenizer([e.text for task in tasks.values() for e in task.split("test")])


@pytest.fixture(scope="module")
def probes(tasks, tokenizer):
    return ProbeSet.from_tasks(tasks, tokenizer)


def test_form(probes):
    assert all(len(value) == 64 and int(value, 16) for value in (probes.examples_digest, probes.tokens_digest))


def test_pinned():
    # Banks on disk are found by these: a change here makes every stored bank unusable.
    probe = Probe("t", "c", ("t/0",), ("Häuser",), ((1, 2),), available=4)
    probes = ProbeSet([probe], template=PromptTemplate().describe())
    assert (probes.examples_digest[:16], probes.tokens_digest[:16]) == ("494ad3d46d452672", "94bd6a252c23ae10")


def test_repeat_and_order_change_nothing(probes, tasks, tokenizer, make_tasks):
    again = ProbeSet.from_tasks(make_tasks(gamma=40, alpha=100, beta=80), tokenizer)
    assert again.examples_digest == probes.examples_digest
    assert again.tokens_digest == probes.tokens_digest


def test_another_tokenizer_keeps_the_examples(probes, tasks, make_tokenizer):
    other = make_tokenizer([e.text for t in tasks.values() for e in t.split("test")], first=["new"])
    changed = ProbeSet.from_tasks(tasks, other)
    assert changed.examples_digest == probes.examples_digest
    assert changed.tokens_digest != probes.tokens_digest


def test_same_ids_of_other_words_differ(tasks, probes, make_tokenizer):
    # The very ids, but they stand for other words.
    words = sorted({w for t in tasks.values() for e in t.split("test") for w in e.text.split()})
    renamed = make_tokenizer([], first=["x" + word for word in words])
    other = TaskCollection(
        Task(
            n,
            t.cluster,
            {
                "test": tuple(
                    Example(*(" ".join("x" + w for w in s.split()) for s in (e.instruction, e.input)), "", e.id)
                    for e in t.split("test")
                )
            },
        )
        for n, t in tasks.items()
    )
    changed = ProbeSet.from_tasks(other, renamed)
    assert [p.input_ids for p in changed.values()] == [p.input_ids for p in probes.values()]
    assert changed.tokens_digest != probes.tokens_digest


def test_an_added_padding_token_changes_nothing(probes, tasks, make_tokenizer):
    other = make_tokenizer([e.text for t in tasks.values() for e in t.split("test")])
    other.add_special_tokens({"additional_special_tokens": ["<extra>"]})
    assert ProbeSet.from_tasks(tasks, other).tokens_digest == probes.tokens_digest


@pytest.mark.parametrize("option", [{"template": "{instruction} {input}"}, {"token_choice": "mean_prompt"}])
def test_template_and_token_choice_keep_the_examples(probes, tasks, tokenizer, option):
    changed = ProbeSet.from_tasks(tasks, tokenizer, **option)
    assert changed.examples_digest == probes.examples_digest
    assert changed.tokens_digest != probes.tokens_digest


def test_cutting_keeps_the_examples(probes, tasks, tokenizer):
    cut = ProbeSet.from_tasks(tasks, tokenizer, max_length=6)
    assert all(probe.truncated == len(probe) for probe in cut.values())
    assert cut.examples_digest == probes.examples_digest
    assert cut.tokens_digest != probes.tokens_digest


@pytest.mark.parametrize("option", [{"seed": 1}, {"examples_per_task": 33}])
def test_other_examples_change_both(probes, tasks, tokenizer, option):
    changed = ProbeSet.from_tasks(tasks, tokenizer, **option)
    assert changed.examples_digest != probes.examples_digest
    assert changed.tokens_digest != probes.tokens_digest


def test_texts_count_and_not_only_ids(probes, tasks, tokenizer):
    first, *rest = tasks["gamma"].split("test")
    changed = Task("gamma", "g", {"test": (Example(first.instruction, first.input + " row", "", first.id), *rest)})
    others = [task for task in tasks.values() if task.name != "gamma"]
    again = ProbeSet.from_tasks(TaskCollection([*others, changed]), tokenizer)
    assert again["gamma"].example_ids == probes["gamma"].example_ids
    assert again.examples_digest != probes.examples_digest


def test_answers_and_clusters_do_not_count(probes, tasks, tokenizer):
    other = TaskCollection(
        Task(n, "one", {"test": tuple(Example(e.instruction, e.input, "no", e.id) for e in t.split("test"))})
        for n, t in tasks.items()
    )
    assert ProbeSet.from_tasks(other, tokenizer).tokens_digest == probes.tokens_digest
