"""Probes know the reference answers of their prompts: the tokens that training sees behind them."""

import pytest

from lightning_layerscope.probes import Probe, ProbeSet
from lightning_layerscope.tasks import Example, Task, TaskCollection, toy_tasks
from lightning_layerscope.training import encode_examples


@pytest.fixture(scope="module")
def tasks():
    return toy_tasks(train=40, test=40).select(["parity", "copy_sentence"])


@pytest.fixture(scope="module", params=["text", "chat"])
def tokenizer(request, make_tokenizer, tasks):
    return make_tokenizer(tasks.texts("test"), bos=request.param == "text", chat=request.param == "chat")


def template(tokenizer):
    return {"chat": True} if tokenizer.chat_template else None


def test_they_are_the_tokens_that_training_sees(tasks, tokenizer, tmp_path):
    from lightning_layerscope.tasks.template import as_template

    probes = ProbeSet.from_tasks(tasks, tokenizer, template=template(tokenizer), max_length=64)
    for name, probe in probes.items():
        by_id = {example.id: example for example in tasks[name].split("test")}
        rows = encode_examples(
            name,
            [by_id[each] for each in probe.example_ids],
            tokenizer,
            template=as_template(template(tokenizer)),
            max_length=64,
        )
        assert probe.answers == tuple(row.answer for row in rows)
    assert ProbeSet.load(probes.save(tmp_path / "probes.json")) == probes
    assert probes["parity"].first(3).answers == probes["parity"].answers[:3]


def test_long_answers_lose_their_end_and_keep_half_of_the_budget(make_tokenizer):
    examples = tuple(Example("", "a " * 9, "b " * 30, f"{row}") for row in range(4))
    tasks = TaskCollection([Task("long", "c", {"test": examples})])
    probe = ProbeSet.from_tasks(tasks, make_tokenizer(["a b"]), max_length=12, min_examples=4)["long"]
    assert {len(ids) for ids in probe.answers} == {6}


def test_prompts_without_answers_have_none_and_digests_do_not_depend_on_them(make_tokenizer):
    def probes(outputs):
        examples = tuple(Example("", f"a {row}", output, f"{row}") for row, output in enumerate(outputs))
        tasks = TaskCollection([Task("t", "c", {"test": examples})])
        return ProbeSet.from_tasks(tasks, make_tokenizer(["a b"]), min_examples=2)

    none, some, all_of_them = probes(["", "", ""]), probes(["b", "", "b"]), probes(["b", "b", "b"])
    assert none["t"].answers == ()
    assert sorted(map(len, some["t"].answers)) == [0, 2, 2]
    assert none.tokens_digest == some.tokens_digest == all_of_them.tokens_digest
    assert none.examples_digest == all_of_them.examples_digest


def test_as_many_answers_as_prompts():
    with pytest.raises(ValueError, match="needs as many ids, texts and token lists"):
        Probe("t", "c", ("1", "2"), ("a", "b"), ((1,), (2,)), answers=((3,),))
