"""Controls of one study serve another: untrained, verified, with the same numbers."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lightning_layerscope.profiles import LayerProfile
from lightning_layerscope.references import ReferenceBank
from lightning_layerscope.sinks.wandb_study import bank_artifact
from lightning_layerscope.study.prepare.checks import StudyError
from lightning_layerscope.study.results.tracker import study_log
from lightning_layerscope.study.stages.controls import KeptControls
from lightning_layerscope.study.study import Study
from lightning_layerscope.wording import count

from .conftest import PLAN, MakePlan, save_model
from .test_study_checks import nothing_was_trained

TAKEN = PLAN.replace(",\n           control_budget: same_examples", "") + "controls: {controls}\n"
UNTRAINED = """
model: {model}
tuned: {tuned}
controls: {controls}
output_dir: {folder}
tasks: {{source: toy, select: [larger_number, parity, last_word, to_lumi]}}
probes: {{examples_per_task: 24, min_examples: 8}}
threads: 1
"""


def same_numbers(study: Study, other: Study, roles: dict[str, str]) -> None:
    for role, theirs in roles.items():
        ours = LayerProfile.from_parquet(study.results / "profiles" / f"{role}.parquet")
        known = LayerProfile.from_parquet(other.results / "profiles" / f"{theirs}.parquet")
        assert np.array_equal(ours.matrix(), known.matrix()), role
        assert (ours.frame[["low", "high"]] == known.frame[["low", "high"]]).all(axis=None), role


def test_only_the_multitask_model_is_trained_and_nothing_else_changes(make_plan: MakePlan, finished: Study) -> None:
    study = Study(make_plan(TAKEN, controls=finished.results / "controls"))
    assert [stage.name for stage in study.stages() if stage.trains] == ["multitask"]
    assert study.estimate().measurements == 8
    results = study.run()
    assert results is not None
    same_numbers(study, finished, {"base": "base", "multitask": "multitask", "drift": "drift"})
    pd.testing.assert_frame_equal(pd.read_csv(results / "tasks.csv"), pd.read_csv(finished.results / "tasks.csv"))
    # They are another study's to publish.
    assert not (results / "controls").exists()
    page = (results / "report.html").read_text()
    assert str(finished.results / "controls") in page
    assert "control seeds" not in page


def test_a_checkpoint_against_published_controls_trains_nothing(make_plan: MakePlan, finished: Study) -> None:
    tuned = finished.graph.stages["multitask"].load(finished.store).folder
    study = Study(make_plan(UNTRAINED, tuned=tuned, controls=finished.results / "controls"))
    assert not [stage for stage in study.stages() if stage.trains]
    results = study.run()
    assert results is not None
    same_numbers(study, finished, {"base": "base", "tuned": "multitask", "drift": "drift"})
    rows, known = (pd.read_csv(each.results / "tasks.csv").set_index("task") for each in (study, finished))
    # Which tasks a checkpoint has seen is not known.
    assert rows["seen"].isna().all()
    assert "| task | cluster | n |" in (results / "table.md").read_text()
    for column in ("encoded", "gained", "verdict", "loss_tuned", "loss_control", "control_learned"):
        assert (rows[column] == known[column]).all(), column
    page = (results / "report.html").read_text()
    assert "base and tuned model against single-task controls" in page
    assert "drift of tuned from base" in page
    # Correlated with the number of test rows, for want of training rows; these are equal here.
    assert "data size" in (results / "correlations.csv").read_text()


def test_losses_of_other_tokens_are_left_out(make_plan: MakePlan, finished: Study) -> None:
    """The plan's budget for prompt and answer cuts some rows, so the controls' losses are not of the same tokens."""
    short = TAKEN.replace("max_examples_per_cluster: 128", "max_examples_per_cluster: 128, max_length: 52")
    study = Study(make_plan(short, controls=finished.results / "controls"))
    results = study.run()
    assert results is not None
    rows = pd.read_csv(results / "tasks.csv").set_index("task")
    unknown = rows["control_learned"].isna()
    assert unknown.any()
    assert not unknown.all()
    assert rows.loc[unknown, "loss_control"].isna().all()
    assert rows.loc[~unknown, "loss_control"].notna().all()
    assert rows["loss_tuned"].notna().all()
    assert rows["verdict"].notna().all()
    assert (rows.loc[unknown, "verdict"] == "control not checked").all()
    assert (
        f"The controls of {count(int(unknown.sum()), 'task')} cannot be checked"
        in (results / "report.html").read_text()
    )
    assert "control did not learn |" not in (results / "table.md").read_text().replace("†", "")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("examples_per_task: 24", "examples_per_task: 20", "other examples, 24 per task where the plan has 20"),
        ("min_examples: 8", "min_examples: 8, seed: 1", "other examples, 24 per task where the plan has 24"),
        ("threads: 1", "template: 'Do: {{instruction}} {{input}}'", "the same examples, but with another template"),
        (
            "min_examples: 8",
            "min_examples: 8, token_choice: mean_prompt",
            "the same examples, but with another template",
        ),
    ],
)
def test_controls_of_other_probes(make_plan: MakePlan, finished: Study, old: str, new: str, message: str) -> None:
    study = Study(make_plan(TAKEN.replace(old, new), controls=finished.results / "controls"))
    with pytest.raises(
        StudyError, match=rf"probed with {message}.* \(4 tasks, e.g. larger_number, parity, last_word\)"
    ):
        study.run()
    assert nothing_was_trained(study)


def test_controls_measured_in_another_precision(make_plan: MakePlan, finished: Study) -> None:
    study = Study(make_plan(TAKEN + "dtype: bfloat16\n", controls=finished.results / "controls"))
    with pytest.raises(StudyError, match=r"measured with dtype float32, and the plan has bfloat16; set dtype: float32"):
        study.run()


def test_controls_of_another_base_model(make_plan: MakePlan, finished: Study, tmp_path: Path) -> None:
    other = save_model(tmp_path / "other", seed=5)
    with pytest.raises(ValueError, match=r"were fine-tuned from another base model than the plan's"):
        Study(make_plan(TAKEN, model=other, controls=finished.results / "controls"))


def test_a_moved_base_model_is_known_by_its_content(
    make_plan: MakePlan, model: Path, finished: Study, tmp_path: Path
) -> None:
    shutil.copytree(model, tmp_path / "copy")
    Study(make_plan(TAKEN, model=tmp_path / "copy", controls=finished.results / "controls")).check()


def test_controls_of_other_tasks(make_plan: MakePlan, finished: Study) -> None:
    text = TAKEN.replace("last_word, to_lumi", "reverse_words, to_lumi")
    with pytest.raises(ValueError, match=r"have none for the tasks \['reverse_words'\]; they are of"):
        Study(make_plan(text, controls=finished.results / "controls"))
    # Fewer tasks are served.
    fewer = Study(make_plan(TAKEN.replace("last_word, to_lumi", "to_lumi"), controls=finished.results / "controls"))
    fewer.check()


def test_a_held_out_task_without_training_rows_is_welcome(make_plan: MakePlan, finished: Study) -> None:
    study = Study(
        make_plan(TAKEN.replace("tasks: {{", "tasks: {{train_split: train, "), controls=finished.results / "controls")
    )
    task = study.context.tasks["to_lumi"]
    bare = type(task)(task.name, task.cluster, {"test": task.split("test")})
    study.context._tasks = type(study.context.tasks)(
        [*(t for t in study.context.tasks.values() if t is not task), bare]
    )
    study.check()


def test_damage_is_found_before_anything_is_trained(make_plan: MakePlan, finished: Study, tmp_path: Path) -> None:
    folder = shutil.copytree(finished.results / "controls", tmp_path / "controls")
    study = Study(make_plan(TAKEN, controls=folder))
    broken, other, lost = (
        KeptControls.load(folder).by_task[name][0].folder for name in ("parity", "last_word", "to_lumi")
    )
    content = bytearray((broken / "bank" / "bank.safetensors").read_bytes())
    content[-1] ^= 1
    (broken / "bank" / "bank.safetensors").write_bytes(content)
    shutil.rmtree(other / "bank")
    shutil.copytree(lost / "bank", other / "bank")
    shutil.rmtree(lost / "bank")
    with pytest.raises(StudyError) as failure:
        study.run()
    assert "bank.safetensors does not match its manifest" in str(failure.value)
    assert "is another one than controls.json says" in str(failure.value)
    assert "expected a reference bank in" in str(failure.value)
    assert nothing_was_trained(study)


def test_a_folder_without_controls(make_plan: MakePlan, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"expected the controls of a study in .*, got no controls.json there"):
        Study(make_plan(TAKEN, controls=tmp_path))
    for content in ('{"format": 3}', "{}", "not json", "[]", "[" * 100_000):
        (tmp_path / "controls.json").write_text(content)
        with pytest.raises(ValueError, match=r"controls.json cannot be used: .*; copy it anew from its study"):
            Study(make_plan(TAKEN, controls=tmp_path))


def test_choices_that_have_no_meaning_with_controls(make_plan: MakePlan) -> None:
    with pytest.raises(ValueError, match=r"training.control_seeds has no meaning; remove one of them"):
        make_plan(TAKEN.replace("learning_rate", "control_seeds: [0, 1], learning_rate"), controls="anywhere")


def test_the_artifact_of_the_banks_serves_as_well(make_plan: MakePlan, finished: Study, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    log = study_log(finished.graph.results, finished.store, finished.results)
    artifact = bank_artifact(log, "run")
    for name, entry in artifact.manifest.entries.items():
        (tmp_path / "downloaded" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(entry.local_path, tmp_path / "downloaded" / name)
    Study(make_plan(TAKEN, controls=tmp_path / "downloaded" / "controls")).check()
    banks = {f"states:{role}:{task}" for role in ("base", "multitask") for task in finished.context.tasks}
    assert set(artifact.metadata["digests"]) == banks
    for name, folder in artifact.metadata["folders"].items():
        assert ReferenceBank.load(tmp_path / "downloaded" / folder).digest == artifact.metadata["digests"][name]
