"""What would fail later is told before anything is trained."""

import json
import math
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from lightning_layerscope.references import ReferenceBank
from lightning_layerscope.study.prepare.checks import StudyError
from lightning_layerscope.study.stages.gains import Compared, find_gains
from lightning_layerscope.study.stages.similarity import against
from lightning_layerscope.study.study import Study

from .conftest import PLAN, MakePlan, save_model
from .test_study_checkpoints import save_adapter

ROW = '{{"split": "{split}", "instruction": "Say.", "input": "word {number}", "output": "{output}"}}\n'


def write_task(folder: Path, name: str, rows: dict[str, int], output: str = "yes") -> None:
    folder.mkdir(exist_ok=True)
    lines = [ROW.format(split=split, number=n, output=output) for split, count in rows.items() for n in range(count)]
    (folder / f"{name}.jsonl").write_text("".join(lines))


def nothing_was_trained(study: Study) -> bool:
    return not any(study.store.done(stage) for stage in study.graph.stages.values())


@pytest.mark.parametrize(
    ("rows", "output", "message"),
    [
        ({"train": 20}, "yes", r"task 'bad' has 0 rows in the split 'test', and 8 are needed"),
        ({"train": 20, "test": 5}, "yes", r"task 'bad' has 5 rows in the split 'test', and 8 are needed"),
        ({"test": 20}, "yes", r"task 'bad' has no rows in the split 'train' to train on"),
        ({"train": 20, "test": 20}, " ", r"task 'bad' has 20 rows without an output in the split 'train'"),
    ],
)
def test_a_task_that_lacks_rows(
    make_plan: MakePlan, tmp_path: Path, rows: dict[str, int], output: str, message: str
) -> None:
    write_task(tmp_path / "tasks", "good", {"train": 20, "test": 20})
    write_task(tmp_path / "tasks", "bad", rows, output)
    text = PLAN.replace("{{source: toy, select: [larger_number, parity, last_word, to_lumi]}}", "tasks")
    study = Study(make_plan(text.replace("held_out: [translation]", "")))
    with pytest.raises(StudyError, match=message):
        study.run()
    assert nothing_was_trained(study)


def test_a_model_without_the_chat_template_that_is_asked_for(make_plan: MakePlan, model: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    shutil.copytree(model, plain)
    (plain / "chat_template.jinja").unlink()
    study = Study(make_plan(PLAN + "template: {{chat: true}}\n", model=plain))
    with pytest.raises(StudyError, match=r"asks for a chat template .* has none; set template.chat to false"):
        study.run()
    assert nothing_was_trained(study)


def test_an_adapter_of_another_base(make_plan: MakePlan, model: Path, tmp_path: Path) -> None:
    three_lines = "tasks: toy\nmodel: {model}\ntuned: {tuned}\n"
    other = save_model(tmp_path / "other", seed=5)
    study = Study(make_plan(three_lines, tuned=save_adapter(other, tmp_path / "same_shape")))
    with pytest.raises(StudyError, match=r"was made for the base model .*other.*, and the plan's model is"):
        study.run()
    wide = save_model(tmp_path / "wide", width=32)
    adapter = save_adapter(wide, tmp_path / "wide_adapter")
    shutil.rmtree(wide)
    with pytest.raises(StudyError, match=r"does not fit the base model .* it names .*wide"):
        Study(make_plan(three_lines, tuned=adapter)).run()


def test_a_moved_base_is_known_by_its_content(make_plan: MakePlan, model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    adapter = save_adapter(model, tmp_path / "adapter")
    Study(make_plan("tasks: toy\nmodel: {model}\ntuned: {tuned}\n", model=copy, tuned=adapter)).check()


def test_models_of_different_depth(make_plan: MakePlan, tmp_path: Path) -> None:
    deep = save_model(tmp_path / "deep", layers=3)
    with pytest.raises(StudyError, match=r"the tuned model has 3 layers and the base model 2"):
        Study(make_plan("tasks: toy\nmodel: {model}\ntuned: {tuned}\n", tuned=deep)).run()


def test_modules_that_the_model_does_not_have(make_plan: MakePlan) -> None:
    study = Study(make_plan(PLAN.replace("{{learning", "{{target_modules: [q_prj], learning")))
    with pytest.raises(StudyError, match=r"modules that .* does not have: \['q_prj'\]"):
        study.run()


def test_an_instruction_longer_than_its_budget(make_plan: MakePlan) -> None:
    study = Study(make_plan(PLAN.replace("{{learning", "{{max_length: 24, learning")))
    with pytest.raises(StudyError, match=r"- training.max_length: task 'last_word': .* too long; raise max_length"):
        study.run()
    assert nothing_was_trained(study)


def test_the_budget_of_held_out_rows_can_be_set_without_training(make_plan: MakePlan, tmp_path: Path) -> None:
    write_task(tmp_path / "tasks", "long", {"train": 8, "test": 8})
    with (tmp_path / "tasks" / "long.jsonl").open("a") as file:
        # Not used by a plan that trains nothing.
        file.write(
            json.dumps({"split": "train", "instruction": "again " * 500, "input": "word", "output": "yes"}) + "\n"
        )
    text = (
        "tasks: tasks\nmodel: {model}\ntuned: {model}\nprobes: {{examples_per_task: 8}}\ntraining: {{max_length: 64}}\n"
    )
    Study(make_plan(text)).check()
    with (tmp_path / "tasks" / "long.jsonl").open("a") as file:
        file.write(json.dumps({"split": "test", "instruction": "again " * 70, "input": "word", "output": "yes"}) + "\n")
    with pytest.raises(StudyError, match=r"training.max_length: task 'long': .* raise max_length"):
        Study(make_plan(text)).check()
    Study(make_plan(text.replace("64", "512"))).check()


def test_a_full_disk(make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100, 99, 1))
    study = Study(make_plan())
    with pytest.raises(StudyError, match=r"the study writes about .* GB, and .* has 0.00 GB free; make room"):
        study.run()
    assert nothing_was_trained(study)


def test_a_bank_of_other_probes() -> None:
    states = torch.randn(2, 8, 4)
    one = ReferenceBank.from_states({"a": states})
    with pytest.raises(ValueError, match=r"expected the same examples in the same order for task 'a'"):
        against("a", one, [ReferenceBank.from_states({"a": states[:, :7]})], "debiased")


def test_a_task_whose_states_are_all_alike_has_no_gain() -> None:
    """Every prompt has the same state, so no layer has a value: undefined, with its reason, and not 0."""
    banks = {role: ReferenceBank.from_states({"a": torch.ones(2, 8, 4)}) for role in ("base", "multitask", "control@0")}
    base, tuned = (against("a", banks[role], [banks["control@0"]], "debiased") for role in ("base", "multitask"))
    assert torch.isnan(base.values).all()
    assert "zero variance" in base.reasons[0]
    compared = Compared("a", banks["base"], banks["multitask"], [banks["control@0"]], "debiased", 0.9)
    gains = find_gains(compared, base, tuned)
    assert gains.verdict == "undefined"
    assert gains.layers == []
    assert math.isnan(gains.gained.value)


def test_clusters_that_are_not_there(make_plan: MakePlan) -> None:
    with pytest.raises(ValueError, match=r"held_out names clusters that are not there: \['translations'\]"):
        Study(make_plan(PLAN.replace("[translation]", "[translations]")))


def test_a_model_that_is_not_there(make_plan: MakePlan, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no model .*: it is neither a folder here nor"):
        Study(make_plan(model="nobody/nothing-here"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no model: neither config.json nor adapter_config.json"):
        Study(make_plan(model=tmp_path / "empty"))
