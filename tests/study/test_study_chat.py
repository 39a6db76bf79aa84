"""A study of conversations and of whole prompts renders each as probes and training do elsewhere."""

import json
from pathlib import Path

import pytest

from lightning_layerscope.study.engine.local import run_stage
from lightning_layerscope.study.plan.groups import Template
from lightning_layerscope.study.stages.row_files import load_rows, save_rows
from lightning_layerscope.study.study import Study
from lightning_layerscope.tasks import Example, PromptTemplate, Task

from .conftest import PLAN, MakePlan

TURNS = [{"role": "user", "content": "How do you say {} in Lumi?"}, {"role": "assistant", "content": "yes {}"}]
OWN = PLAN.replace("{{source: toy, select: [larger_number, parity, last_word, to_lumi]}}", "{tasks}").replace(
    "held_out: [translation]", ""
)


def write_chats(folder: Path) -> Path:
    folder.mkdir()
    rows = [
        {"split": split, "messages": [{**turn, "content": turn["content"].format(f"word {n}")} for turn in TURNS]}
        for split, count in (("train", 16), ("test", 12))
        for n in range(count)
    ]
    for task in ("first", "second"):
        (folder / f"{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.parametrize("form", ["", "template: {{chat: false}}\n"])
def test_conversations_take_the_chat_template_unless_told_otherwise(
    make_plan: MakePlan, tmp_path: Path, form: str
) -> None:
    study = Study(make_plan(OWN + form, tasks=write_chats(tmp_path / "chats")))
    for name in ("data:first", "probes:first"):
        run_stage(study.graph.stages[name], study.context)
    probed = study.graph.stages["probes:first"].load(study.store)
    tokenizer, template = study.context.tokenizer, PromptTemplate(chat=form == "")
    expected = {example.id: template.render(example, tokenizer) for example in probed.rows.split("test")}
    assert dict(zip(probed.probes["first"].example_ids, probed.probes["first"].texts, strict=True)) == expected
    plain = "How do you say word"
    assert all(prompt.startswith(plain) == bool(form) for prompt in expected.values())


def test_a_plan_says_of_its_template_what_a_prompt_template_says() -> None:
    assert PromptTemplate(**Template().model_dump()) == PromptTemplate()


def test_stored_rows_keep_every_field(tmp_path: Path) -> None:
    examples = (
        Example("Say.", "a", "b", "t/test/0"),
        Example("", "Whole prompt:", " b", "t/test/1", whole=True),
        Example("", "Hi", "b", "t/test/2", messages=(("user", "Hi"),)),
    )
    save_rows(Task("t", "c", {"test": examples}), tmp_path / "rows.json")
    assert load_rows(tmp_path / "rows.json").split("test") == examples
