"""In W&B every training is a run of its own in one group, and the results are one more."""

import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest

from lightning_layerscope.sinks.wandb_study import safe_names
from lightning_layerscope.study.study import Study

from .conftest import PLAN
from .test_study_command import call

pytestmark = pytest.mark.slow


def configs(root: Path) -> list[str]:
    return [path.read_bytes().decode(errors="ignore") for path in root.rglob("*.wandb")]


def test_offline_runs_of_one_group(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    path = tmp_path / "plan.yaml"
    text = PLAN.replace(", parity, last_word, to_lumi", "").replace("held_out: [translation]", "name: logged")
    path.write_text(text.format(model=model, folder=tmp_path / "study") + "wandb: {project: layers, mode: offline}\n")
    results = Study.from_yaml(path).run()
    assert results is not None
    # Multi-task model, control, results. W&B's own process may still be writing when a run is finished.
    runs = configs(tmp_path)
    deadline = time.monotonic() + 30
    while not all("logged" in run for run in runs) and time.monotonic() < deadline:
        time.sleep(0.1)
        runs = configs(tmp_path)
    assert len(runs) == 3
    assert all("logged" in run for run in runs)
    for role in ("multitask", "control", "results"):
        assert any(f'"{role}"' in run for run in runs), role
    everything = "".join(runs)
    assert "study/cka/base/mean" in everything
    assert "Which number is larger?" not in everything
    assert json.loads((results / "summary.json").read_text())["name"] == "logged"
    assert os.environ["WANDB_MODE"] == "offline"


def fail(*args: object, **options: object) -> None:
    raise ConnectionError("the server is gone")


def test_results_are_there_when_the_tracker_fails_and_the_report_logs_again(
    finished: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    shutil.copytree(finished.store.root, tmp_path / "study", ignore=shutil.ignore_patterns("results*"))
    plan = finished.store.root.parent / "plan.yaml"
    text = plan.read_text().replace(str(finished.store.root), str(tmp_path / "study"))
    (tmp_path / "plan.yaml").write_text(text + "wandb: {project: layers, mode: offline}\n")
    with monkeypatch.context() as patched:
        patched.setattr(wandb, "init", fail)
        with pytest.warns(UserWarning, match=r"results are in .*results, but W&B could not take them .*study report"):
            folder = Study.from_yaml(tmp_path / "plan.yaml").run()
    assert folder is not None
    assert (folder / "report.html").is_file()
    assert not configs(tmp_path)
    call("report", tmp_path / "plan.yaml")
    # Logged: another run does it no second time.
    assert len(configs(tmp_path)) == 1
    monkeypatch.setattr(wandb, "init", fail)
    Study.from_yaml(tmp_path / "plan.yaml").run()


def test_names_of_tasks_become_folders_of_their_own() -> None:
    names = ["a:b", "a/b", "a.b", "..", ".", "", "A:B", "x" * 200, "x" * 201, "task"]
    folders = safe_names(names)
    assert len({folder.lower() for folder in folders.values()}) == len(names)
    assert folders["task"] == "task"
    for folder in folders.values():
        assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", folder)
        assert ".." not in folder


def test_a_training_is_kept_where_the_tracker_cannot_be_reached(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    monkeypatch.setattr(wandb, "init", fail)
    path = tmp_path / "plan.yaml"
    text = PLAN.replace(", parity, last_word, to_lumi", "").replace("held_out: [translation]", "")
    path.write_text(text.format(model=model, folder=tmp_path / "study") + "wandb: {project: layers, mode: offline}\n")
    study = Study.from_yaml(path)
    with pytest.warns(UserWarning, match=r"W&B cannot be reached .*server is gone.* control:larger_number@0 is logged"):
        study.run(["control"])
    assert study.graph.stages["control:larger_number@0"].load(study.store).record.steps == 4
