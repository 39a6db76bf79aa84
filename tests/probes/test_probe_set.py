"""Which examples are chosen, and what is counted."""

import subprocess
import sys
from collections import Counter

import pytest

from lightning_layerscope.probes import Probe, ProbeSet
from lightning_layerscope.tasks import Example, PromptTemplate, Task, TaskCollection, load_jsonl, toy_tasks


@pytest.fixture(scope="module")
def tasks(make_tasks):
    return make_tasks(alpha=100, beta=80, gamma=40)


@pytest.fixture(scope="module")
def tokenizer(make_tokenizer, tasks):
    return make_tokenizer([e.text for task in tasks.values() for e in task.split("test")])


def test_content(tasks, tokenizer):
    probes = ProbeSet.from_tasks(tasks, tokenizer, examples_per_task=50)
    assert list(probes) == ["alpha", "beta", "gamma"]
    assert probes.clusters == {"alpha": "cluster a", "beta": "cluster b", "gamma": "cluster g"}
    assert [(len(probe), probe.available) for probe in probes.values()] == [(50, 100), (50, 80), (40, 40)]
    assert (probes.num_examples, probes.num_tokens) == (140, 140 * 8)
    assert (probes.vocab_size, probes.max_length, probes.split, probes.seed) == (len(tokenizer), 512, "test", 0)
    assert probes.template == PromptTemplate().describe()
    probe = probes["alpha"]
    by_id = {example.id: example for example in tasks["alpha"].split("test")}
    for example_id, text, ids in zip(probe.example_ids, probe.texts, probe.input_ids, strict=True):
        assert text == PromptTemplate().render(by_id[example_id])
        assert tokenizer.convert_ids_to_tokens(list(ids)) == text.split()


def test_choice_is_stable(tasks, tokenizer, make_tasks):
    ids = {name: p.example_ids for name, p in ProbeSet.from_tasks(tasks, tokenizer, examples_per_task=32).items()}
    more = make_tasks(zeta=50, gamma=40, beta=80, alpha=100)
    again = ProbeSet.from_tasks(more, tokenizer, examples_per_task=32)
    assert {name: again[name].example_ids for name in ids} == ids
    shuffled = Task("alpha", "c", {"test": tasks["alpha"].split("test")[::-1]})
    assert (
        ProbeSet.from_tasks(TaskCollection([shuffled]), tokenizer, examples_per_task=32)["alpha"].example_ids
        == ids["alpha"]
    )
    longer = ProbeSet.from_tasks(tasks, tokenizer, examples_per_task=48)
    assert longer["alpha"].example_ids[:32] == ids["alpha"]
    other = ProbeSet.from_tasks(tasks, tokenizer, examples_per_task=32, seed=1)
    assert set(other["alpha"].example_ids) != set(ids["alpha"])


def test_choice_is_the_same_in_another_process():
    code = "from lightning_layerscope.tasks.sampling import sampling_key; print(sampling_key(3, 'täsk', 'a/test/7'))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    # Pinned, so that no release or Python version changes which examples are probed.
    assert int(out) == 44283666217589403990820249798829302704


def test_choice_is_unbiased(make_tasks, make_tokenizer):
    from lightning_layerscope.probes.build import choose

    rows = make_tasks(alpha=20)["alpha"].split("test")
    drawn = Counter(example.id for seed in range(2000) for example in choose("alpha", rows, 5, seed))
    # Every row is drawn 2000 * 5 / 20 = 500 times, give or take sqrt(2000 * .25 * .75) = 19; 5 of these are 97.
    assert len(drawn) == 20
    assert all(abs(count - 500) < 97 for count in drawn.values())
    firsts = Counter(choose("alpha", rows, 5, seed)[0].id for seed in range(2000))
    assert all(abs(count - 100) < 5 * (2000 * 0.05 * 0.95) ** 0.5 for count in firsts.values())


def test_too_small_tasks_are_all_named(make_tasks, tokenizer):
    tasks = make_tasks(alpha=40, beta=31, gamma=3)
    with pytest.raises(
        ValueError, match=r"2 of 3 tasks have fewer than 32 .*beta \(31\), gamma \(3\); lower min_examples"
    ):
        ProbeSet.from_tasks(tasks, tokenizer)
    probes = ProbeSet.from_tasks(tasks, tokenizer, min_examples=3)
    assert [len(probe) for probe in probes.values()] == [40, 31, 3]


def test_fewer_asked_for_than_min_examples(make_tasks, tokenizer):
    tasks = make_tasks(alpha=40, beta=8)
    assert [len(p) for p in ProbeSet.from_tasks(tasks, tokenizer, examples_per_task=8).values()] == [8, 8]
    with pytest.raises(ValueError, match=r"fewer than 9 .*beta \(8\)"):
        ProbeSet.from_tasks(tasks, tokenizer, examples_per_task=9)


def test_all_examples(tasks, tokenizer):
    assert ProbeSet.from_tasks(tasks, tokenizer, examples_per_task=None).num_examples == 220


def test_splits(make_tasks, tokenizer):
    tasks = make_tasks(alpha=40, split="train")
    with pytest.raises(ValueError, match=r"has a split 'test'; name one of \['train'\] with split="):
        ProbeSet.from_tasks(tasks, tokenizer, split="test")
    named = ProbeSet.from_tasks(tasks, tokenizer, split="train")
    assert (named.split, named.notes) == ("train", ())
    mixed = TaskCollection([*tasks.values(), *make_tasks(beta=40).values()])
    with pytest.raises(ValueError, match=r"1 of 2 tasks .*: alpha \(0\)"):
        ProbeSet.from_tasks(mixed, tokenizer)


def test_the_only_split_there_is_is_taken_and_told(make_tasks, tokenizer):
    tasks = make_tasks(alpha=40, split="train")
    with pytest.warns(UserWarning, match=r"^layerscope: the prompts are of the split 'train', the only one") as told:
        probes = ProbeSet.from_tasks(tasks, tokenizer)
    assert told[0].filename == __file__
    assert probes == ProbeSet.from_tasks(tasks, tokenizer, split="train")
    assert "note: the prompts are of the split 'train'" in probes.summary()
    several = TaskCollection([*tasks.values(), *make_tasks(beta=40, split="validation").values()])
    with pytest.raises(ValueError, match=r"has a split 'test'; name one of \['train', 'validation'\] with split="):
        ProbeSet.from_tasks(several, tokenizer)


@pytest.mark.parametrize("option", ["examples_per_task", "max_length", "min_examples"])
def test_impossible_numbers(tasks, tokenizer, option):
    with pytest.raises(ValueError, match=rf"expected 1 or more, got {{'{option}': 0}}"):
        ProbeSet.from_tasks(tasks, tokenizer, **{option: 0})


def test_empty_prompts_are_named(tokenizer):
    rows = tuple(Example("", " " if i % 2 else "x", "", f"e/{i}") for i in range(4))
    tasks = TaskCollection([Task("e", "c", {"test": rows})])
    with pytest.raises(ValueError, match=r"task 'e': empty prompts: \['e/[13]', 'e/[13]'\] \(2 in all\)"):
        ProbeSet.from_tasks(tasks, tokenizer, min_examples=4)
    only_instruction = TaskCollection([Task("i", "c", {"test": (Example("Say.", "", "", "i/0"),)})])
    with pytest.raises(ValueError, match=r"task 'i': the template '{input}' leaves nothing of \['i/0'\]"):
        ProbeSet.from_tasks(only_instruction, tokenizer, min_examples=1, template="{input}")


def test_select(tasks, tokenizer):
    probes = ProbeSet.from_tasks(tasks, tokenizer, token_choice="first_2")
    part = probes.select(["gamma", "alpha"])
    assert list(part) == ["gamma", "alpha"]
    assert part["gamma"] is probes["gamma"]
    assert part.token_choice == "first_2"
    alone = ProbeSet.from_tasks(tasks.select("gamma"), tokenizer, token_choice="first_2")
    assert probes.select("gamma") == alone
    assert alone != part
    with pytest.raises(ValueError, match=r"no probes of the tasks \['nope'\]; there are \['alpha', 'beta', 'gamma'\]"):
        probes.select(["nope"])
    with pytest.raises(KeyError, match="nope"):
        probes["nope"]


def test_summary_shows_counts_and_cuts(make_tasks, make_tokenizer):
    tasks = make_tasks(alpha=100, beta=33)
    long = Task(
        "long",
        "l",
        {"test": tuple(Example("do", "w " * (5 + 10 * (i == 3)) + str(i), "", f"l/{i}") for i in range(40))},
    )
    double = Task("double", "d", {"test": tuple(Example("do", "same", "", f"d/{i}") for i in range(32))})
    probes = ProbeSet.from_tasks(TaskCollection([*tasks.values(), long, double]), make_tokenizer(), max_length=8)
    lines = probes.summary().splitlines()
    table = {line.split()[0]: line.split() for line in lines[1:5]}
    assert table["alpha"] == ["alpha", "cluster", "a", "64", "of", "100", "512", "-"]
    assert table["beta"] == ["beta", "cluster", "b", "33", "of", "33", "264", "-"]
    assert table["long"][-1] == "1"
    text = "\n".join(lines)
    assert "4 tasks in 4 clusters: 169 prompts of the split 'test' (seed 0)" in text
    assert "1 prompt was cut to 8 tokens" in text
    assert f"tokens {probes.tokens_digest[:16]}" in text
    assert "prompts are copies of another one of their task" in text
    assert repr(probes).startswith("ProbeSet(4 tasks, 169 prompts")


def test_summary_shows_the_last_token_in_words(make_bpe, make_tokenizer):
    prompts = {"a": ["w1 w2", "w3 w2", "w4"], "b": ["w2", "w4", "w5", "w6", "w7", "w8"]}
    words = make_tokenizer([" ".join(texts) for texts in prompts.values()])
    told = ProbeSet.from_prompts(prompts, words, min_examples=2).summary()
    assert "the prompts end in the tokens 'w2' (3), 'w4' (2), " in told
    assert told.count("(1)") == 3
    assert " and 1 other\n" in told
    told = ProbeSet.from_prompts(prompts, make_bpe(["one"]), template="{input}\n", min_examples=2).summary()
    assert r"every prompt ends in the token '\n'" in told
    only = ProbeSet.from_prompts({"a": ["w1"]}, words, min_examples=1).summary()
    assert "1 task in 1 cluster: 1 prompt of the split" in only


def test_an_end_token_behind_every_text_is_left_out_and_told(make_tokenizer):
    prompts = {"a": ["w1 w2", "w2 w1"]}
    closing, plain = (make_tokenizer(["w1 w2"], bos=True, end=end) for end in (True, False))
    probes = ProbeSet.from_prompts(prompts, closing, min_examples=2)
    assert probes == ProbeSet.from_prompts(prompts, plain, min_examples=2)
    assert "note: the tokenizer closes every text with '</s>'; prompts" in probes.summary()
    assert "note:" not in ProbeSet.from_prompts(prompts, plain, min_examples=2).summary()
    assert probes.select("a").notes == probes.notes


def my_choice(mask):
    return mask


@pytest.mark.parametrize("choice", ["last", "first_0", "first_", "first_x", "", "mean"])
def test_unknown_token_choices(tasks, tokenizer, choice):
    with pytest.raises(ValueError, match=rf"token_choice must be 'last_prompt', .* got '{choice}'"):
        ProbeSet.from_tasks(tasks, tokenizer, token_choice=choice)


def test_callable_token_choice(tasks, tokenizer):
    probes = ProbeSet.from_tasks(tasks, tokenizer, token_choice=my_choice)
    assert probes.token_choice is my_choice
    assert probes.tokens_digest != ProbeSet.from_tasks(tasks, tokenizer).tokens_digest
    with pytest.raises(TypeError, match=r"text or a callable .* got int"):
        ProbeSet.from_tasks(tasks, tokenizer, token_choice=4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"texts": ("a",)}, "needs as many ids, texts and token lists"),
        ({"example_ids": (), "texts": (), "input_ids": ()}, "needs as many ids, texts and token lists, and some"),
        ({"example_ids": ("1", "1")}, r"example ids more than once: \['1'\]"),
        ({"input_ids": ((1,), ())}, r"prompts without a token: \['2'\]"),
        ({"available": 1}, "truncated <= prompts <= available"),
        ({"truncated": 3}, "truncated <= prompts <= available"),
    ],
)
def test_malformed_probe(fields, message):
    good = {"example_ids": ("1", "2"), "texts": ("a", "b"), "input_ids": ((1,), (2,))}
    assert len(Probe("t", "c", **good)) == 2
    with pytest.raises(ValueError, match=message):
        Probe("t", "c", **{**good, **fields})


def test_malformed_set():
    probe = Probe("t", "c", ("1",), ("a",), ((1,),))
    with pytest.raises(ValueError, match="at least one task"):
        ProbeSet([])
    with pytest.raises(ValueError, match=r"more than once: \['t'\]"):
        ProbeSet([probe, probe])


def test_toy_and_real_tasks(make_bpe, shared_data):
    real = load_jsonl(shared_data / "instruct48")
    tokenizer = make_bpe(real.texts("test"), vocab_size=1000)
    probes = ProbeSet.from_jsonl(shared_data / "instruct48", tokenizer, max_length=128)
    assert len(probes) == 48
    assert {task: len(p) for task, p in probes.items() if len(p) < 64} == {
        "diplomacy": 33,
        "multi_woz": 40,
        "samsum": 42,
    }
    lengths = [len(ids) for probe in probes.values() for ids in probe.input_ids]
    assert max(lengths) <= 128
    for task, probe in probes.items():
        for example in real[task].split("test"):
            if example.id in probe.example_ids:
                text = probe.texts[probe.example_ids.index(example.id)]
                assert text.startswith(example.instruction + "\n")
                assert (example.input + "\n").endswith(text.removeprefix(example.instruction + "\n"))
    cut = sum(probe.truncated for probe in probes.values())
    full = ProbeSet.from_tasks(real, tokenizer, max_length=4096)
    assert 0 < cut == sum(len(ids) > 128 for probe in full.values() for ids in probe.input_ids)
    assert full.examples_digest == probes.examples_digest
    assert ProbeSet.from_tasks(toy_tasks(test=32, train=0), tokenizer).num_examples == 24 * 32


def test_the_first_prompts_keep_every_field_in_step():
    from dataclasses import fields

    from lightning_layerscope.probes import Probe

    names = tuple("abcd")
    ids = ((1,), (2, 3), (4,), (5,))
    whole = Probe("t", "c", names, names, ids, truncated=3, available=9, last_tokens=("w", "x", "y", "z"))
    two = whole.first(2)
    assert len(two) == 2
    for each in fields(Probe):
        value = getattr(whole, each.name)
        assert getattr(two, each.name) == (
            value[:2] if isinstance(value, tuple) else 2 if each.name == "truncated" else value
        )
    assert whole.first(10) == whole
