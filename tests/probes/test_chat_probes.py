"""Probes of chat data: the prompts that a trainer makes of the same rows, and dates that a chat template writes."""

import datetime
import json

import pytest

from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.tasks import PromptTemplate, load_jsonl
from lightning_layerscope.training import encode_examples

DATED = "Today: {{ strftime_now('%d %b %Y') }}\n" + (
    "{% for turn in messages %}<{{ turn['role'] }}> {{ turn['content'] }}\n{% endfor %}"
)


def question(number):
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"How many is {number} ?"}]


def rows(form, count=8):
    for number in range(count):
        answer = [{"role": "assistant", "content": str(number)}]
        if form == "messages":
            yield {"messages": question(number) + answer}
        elif form == "parts":
            parts = [{"type": "text", "text": f"How many is {number} ?"}]
            yield {"messages": [question(number)[0], {"role": "user", "content": parts}, *answer]}
        elif form == "prompt of messages":
            yield {"prompt": question(number), "completion": answer}
        else:
            yield {"prompt": f"How many is {number} ?", "completion": f" {number}"}


@pytest.fixture
def write(tmp_path):
    def write(form):
        (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows(form))), encoding="utf-8")
        return tmp_path

    return write


@pytest.fixture
def tokenizer(make_tokenizer):
    return make_tokenizer(["Be brief. How many is ?", " ".join(map(str, range(8)))], bos=True, chat=True)


def make(folder, tokenizer, **options):
    return ProbeSet.from_jsonl(folder, tokenizer, split="train", min_examples=4, **options)


@pytest.mark.parametrize("form", ["messages", "parts", "prompt of messages", "prompt of text"])
def test_the_prompts_are_those_of_trl(write, tokenizer, form):
    trl = pytest.importorskip("trl.data_utils", reason="needs TRL")
    folder = write(form)
    probe = make(folder, tokenizer)["t"]
    for name, text, ids in zip(probe.example_ids, probe.texts, probe.input_ids, strict=True):
        number = int(name.rsplit("/", 1)[1])
        row = list(rows(form if form.startswith("prompt") else "prompt of messages"))[number]
        assert text == trl.maybe_apply_chat_template(row, tokenizer)["prompt"]
        assert list(ids) == tokenizer(text, add_special_tokens=form == "prompt of text")["input_ids"]


@pytest.mark.parametrize("form", ["messages", "prompt of messages", "prompt of text"])
def test_training_makes_the_same_prompts_of_them(write, tokenizer, form):
    folder = write(form)
    probe = make(folder, tokenizer)["t"]
    trained = {row.id: row.prompt for row in encode_examples("t", load_jsonl(folder)["t"].split("train"), tokenizer)}
    assert dict(zip(probe.example_ids, probe.input_ids, strict=True)) == trained


@pytest.mark.parametrize("plain", [{"chat": False}, PromptTemplate(chat=False)])
def test_plain_text_when_told_so(write, tokenizer, plain):
    folder = write("messages")
    assert (
        "note: the rows are conversations, which take the tokenizer's chat template"
        in make(folder, tokenizer).summary()
    )
    probes = make(folder, tokenizer, template=plain)
    assert {text.splitlines()[0] for text in probes["t"].texts} == {"Be brief."}
    assert probes.template["chat"] is False
    assert probes.notes == ()


def test_a_tokenizer_without_a_chat_template_is_told(write, make_tokenizer):
    probes = make(write("messages"), make_tokenizer(["Be"]))
    assert "note: the rows are conversations, and as the tokenizer has no chat template" in probes.summary()


def test_a_template_that_writes_the_date_is_found_and_told(write, tokenizer):
    folder = write("messages")
    tokenizer.chat_template = DATED
    with pytest.warns(UserWarning, match="layerscope: the tokenizer's chat template writes today's date") as told:
        probes = make(folder, tokenizer)
    assert told[0].filename == __file__
    assert any("today's date" in note for note in probes.notes)
    # It was found with two dates that are not today's: the prompts have today's.
    assert all(str(datetime.datetime.now().year) in text for text in probes["t"].texts)


@pytest.mark.parametrize(
    "written",
    [
        "{{ strftime_now('%Y-%m-%d').split('-')[2] }}",
        "{{ strftime_now('%-d')|int + 1 }}",
        "{% macro opening() %}{{ strftime_now('%B') }}{% endmacro %}{{ opening() }}",
        "{% if not today is defined %}{% if strftime_now is defined %}{% set today = strftime_now('%j') %}{% endif %}"
        "{% endif %}{{ today }}",
    ],
)
def test_a_date_is_found_however_it_is_written(write, tokenizer, written):
    tokenizer.chat_template = written + tokenizer.chat_template
    with pytest.warns(UserWarning, match="today's date"):
        make(write("messages"), tokenizer)


def test_a_date_that_only_some_prompts_have_is_found(write, tokenizer):
    tokenizer.chat_template = "{% if messages|length > 1 %}" + DATED + "{% endif %}{{ messages[-1]['content'] }}"
    with pytest.warns(UserWarning, match="today's date"):
        make(write("messages"), tokenizer)


def test_a_fixed_date_is_no_clock(write, tokenizer):
    tokenizer.chat_template = DATED.replace("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024")
    assert not any("date" in note for note in make(write("messages"), tokenizer).notes)
