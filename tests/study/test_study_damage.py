"""What lies on the disk is not taken on trust: damage, links, earlier versions, and what killed runs leave behind."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_layerscope.study.engine.local import run_stage
from lightning_layerscope.study.engine.store import DamagedResultError, Store
from lightning_layerscope.study.prepare.checks import StudyError
from lightning_layerscope.study.stages.controls import KeptControls
from lightning_layerscope.study.study import Study

from .conftest import MakePlan
from .stages_for_tests import Step, Steps
from .test_study_command import call
from .test_study_controls import TAKEN


def copy_of(study: Study, folder: Path) -> Study:
    """The same study in a folder of its own."""
    shutil.copytree(study.store.root, folder)
    return Study(study.plan.model_copy(update={"output_dir": str(folder)}))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("stage", "file"),
    [
        ("data:parity", "rows.json"),
        ("probes:parity", "facts.json"),
        ("multitask", "model/adapter_model.safetensors"),
        ("multitask", "training.json"),
        ("states:base:parity", "measured.json"),
        ("states:base:parity", "sample.safetensors"),
        ("states:control@0:parity", "bank/bank.safetensors"),
        ("compare:parity", "base.parquet"),
        ("compare:parity", "compared.json"),
        ("results", "summary.json"),
    ],
)
def test_a_flipped_bit_names_the_folder_to_delete(finished: Study, tmp_path: Path, stage: str, file: str) -> None:
    study = copy_of(finished, tmp_path / "study")
    damaged = study.graph.stages[stage]
    damaged.load(study.store)
    flip(study.store.folder(damaged) / file)
    message = rf"stage '{stage}' is damaged: {file} is not what was written. Delete this stage's folder, .*stages"
    with pytest.raises(DamagedResultError, match=message):
        damaged.load(Store(study.store.root))


def test_the_advice_mends_it(finished: Study, tmp_path: Path) -> None:
    study = copy_of(finished, tmp_path / "study")
    compare = study.graph.stages["compare:parity"]
    flip(study.store.folder(compare) / "compared.json")
    shutil.rmtree(study.store.folder(study.graph.results))
    with pytest.raises(DamagedResultError):
        study.run()
    shutil.rmtree(study.store.folder(compare))
    again = Study(study.plan)
    done: list[str] = []
    again.run(report=lambda stage, what: done.append(f"{stage.name} {what}"))
    assert [each for each in done if each.endswith(" done")] == ["compare:parity done", "results done"]


def test_a_lost_file_and_a_damaged_record(tmp_path: Path) -> None:
    def write(step: Step, store: Store, folder: Path) -> None:
        (folder / "out").write_text("whole")

    stage = Step("a")
    run_stage(stage, Steps(Store(tmp_path), write))
    folder = Store(tmp_path).folder(stage)
    assert stage.load(Store(tmp_path)) == "whole"
    (folder / "out").unlink()
    with pytest.raises(DamagedResultError, match="out is missing"):
        stage.load(Store(tmp_path))
    for content in ("{", "[]", "{}", '{"files": 3}', "[" * 100_000):
        (folder / "stage.json").write_text(content)
        with pytest.raises(DamagedResultError, match=r"stage.json cannot be used"):
            stage.load(Store(tmp_path))
    with pytest.raises(FileNotFoundError, match="stage 'b' has no result in"):
        Step("b").load(Store(tmp_path))


def test_digests_of_models_that_are_damaged_are_made_anew(make_plan: MakePlan, tmp_path: Path) -> None:
    before = Study(make_plan()).graph.results.fingerprint
    for content in ("[" * 100_000, "{", "[]"):
        (tmp_path / "study" / "digests.json").write_text(content)
        assert Study(make_plan()).graph.results.fingerprint == before
        assert json.loads((tmp_path / "study" / "digests.json").read_text())


@pytest.mark.parametrize("what", ["folder", "bank", "file"])
def test_controls_are_not_read_through_links(make_plan: MakePlan, finished: Study, tmp_path: Path, what: str) -> None:
    controls = shutil.copytree(finished.results / "controls", tmp_path / "controls")
    target = KeptControls.load(controls).by_task["parity"][0].folder
    secret = tmp_path / "secret"
    linked = {"folder": target, "bank": target / "bank", "file": target / "measured.json"}[what]
    linked.rename(secret)
    linked.symlink_to(secret)
    study = Study(make_plan(TAKEN, controls=controls))
    with pytest.raises(StudyError, match="is a symbolic link, and controls are not read through links"):
        study.run()


def test_a_linked_file_beside_the_controls_is_not_copied(make_plan: MakePlan, finished: Study, tmp_path: Path) -> None:
    controls = shutil.copytree(finished.results / "controls", tmp_path / "controls")
    (tmp_path / "secret").write_text("secret")
    (KeptControls.load(controls).by_task["parity"][0].folder / "bank" / "more").symlink_to(tmp_path / "secret")
    study = Study(make_plan(TAKEN, controls=controls))
    study.run(["import:control@0:parity"])
    assert not list(study.store.folder(study.graph.stages["import:control@0:parity"]).rglob("more"))


@pytest.mark.parametrize("name", ["../elsewhere", "/etc", "a/../../b", "", ".", "C:\\windows"])
def test_controls_lie_inside_their_folder(make_plan: MakePlan, finished: Study, tmp_path: Path, name: str) -> None:
    controls = shutil.copytree(finished.results / "controls", tmp_path / "controls")
    index = json.loads((controls / "controls.json").read_text())
    index["controls"][0]["folder"] = name
    (controls / "controls.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="is no path inside this folder"):
        Study(make_plan(TAKEN, controls=controls))


def test_losses_of_controls_are_verified(make_plan: MakePlan, finished: Study, tmp_path: Path) -> None:
    controls = shutil.copytree(finished.results / "controls", tmp_path / "controls")
    measured = KeptControls.load(controls).by_task["parity"][0].folder / "measured.json"
    measured.write_text(measured.read_text().replace("1", "2"))
    with pytest.raises(StudyError, match=r"is damaged: measured.json is not what was written; copy the controls anew"):
        Study(make_plan(TAKEN, controls=controls)).run()


def test_an_earlier_version_s_stages_are_told_of(
    finished: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = finished.store.root.parent / "plan.yaml"
    call("status", plan)
    assert "earlier version" not in capsys.readouterr().err
    shutil.copytree(finished.store.root, tmp_path / "study")
    for record in (tmp_path / "study" / "stages").glob("*/stage.json"):
        # As it was written before: no format, other fingerprints.
        record.write_text(json.dumps({"name": "x", "fingerprint": "0", "settings": {}, "needs": {}}))
        record.parent.rename(record.parent.with_name(record.parent.name.rpartition("-")[0] + "-0123456789abcdef"))
    (tmp_path / "plan.yaml").write_text(plan.read_text().replace(str(finished.store.root), str(tmp_path / "study")))
    call("status", tmp_path / "plan.yaml")
    told = capsys.readouterr()
    assert "results        0 of 1" in told.out
    assert "30 stages in" in told.err
    assert "of an earlier version of this package will not be used" in told.err
    assert "can be read as before" in told.err


PUBLISH = """
import os, shutil, signal, sys
from lightning_layerscope.study.study import Study
study = Study.from_yaml(sys.argv[1])
copy = shutil.copytree
def killed(*args, **options):
    copy(*args, **options)
    os.kill(os.getpid(), signal.SIGKILL)
shutil.copytree = killed
study.publish()
"""


def test_remains_of_a_killed_writer_go_with_the_next_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / ".digests.json.left").write_text("half")
    store.remember("digests.json", {"a": "b"})
    assert store.remembered("digests.json") == {"a": "b"}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_kill_while_results_are_published_leaves_nothing_for_good(finished: Study, tmp_path: Path) -> None:
    study = copy_of(finished, tmp_path / "study")
    text = (finished.store.root.parent / "plan.yaml").read_text()
    (tmp_path / "plan.yaml").write_text(text.replace(str(finished.store.root), str(tmp_path / "study")))
    process = subprocess.run([sys.executable, "-c", PUBLISH, str(tmp_path / "plan.yaml")], check=False, env=os.environ)
    assert process.returncode < 0
    hidden = [path.name for path in study.store.root.iterdir() if path.name.startswith(".results")]
    assert hidden
    study.publish()
    assert not [path.name for path in study.store.root.iterdir() if path.name.startswith(".")]
    assert (study.results / "summary.json").is_file()
