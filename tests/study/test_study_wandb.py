"""In W&B every training is a run of its own in one group, and the results are one more."""

import json
import os
import time
from pathlib import Path

import pytest

from lightning_layerscope.study.study import Study

from .conftest import PLAN

# wandb's service and Lightning's logger leave threads and files to the garbage collector.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]


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
