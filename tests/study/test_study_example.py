"""The example's script makes a base model, and its plan is valid and fits the model."""

import runpy
import sys
from pathlib import Path

import pytest

from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.study import Study

EXAMPLE = Path(__file__).parents[2] / "examples" / "study_instruct48"


def test_prepare_and_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = "--steps 3 --layers 2 --width 16 --vocabulary 400"
    monkeypatch.setattr(sys, "argv", f"prepare.py --tasks toy --out {tmp_path / 'base'} {sizes}".split())
    runpy.run_path(str(EXAMPLE / "prepare.py"), run_name="__main__")
    assert "at the end" in capsys.readouterr().out
    text = (EXAMPLE / "study.yaml").read_text()
    held_out = "[stance_detection, commonsense, topic_classification, struct_to_text]"
    text = text.replace("tasks: tasks", "tasks: toy").replace(held_out, "[translation]")
    (tmp_path / "study.yaml").write_text(text)
    study = Study.from_yaml(tmp_path / "study.yaml")
    study.check()
    assert study.estimate().trainings == 25
    assert len(study.graph.held_out) == 3


def test_the_plan_holds_out_clusters_of_the_real_tasks(shared_data: Path, tmp_path: Path) -> None:
    from lightning_layerscope.tasks import load_tasks

    plan = StudyPlan.from_yaml(EXAMPLE / "study.yaml")
    clusters = load_tasks(shared_data / "instruct48").clusters
    assert set(plan.held_out) < set(clusters.values())
    # Enough to name a transition on unseen tasks.
    assert sum(cluster in plan.held_out for cluster in clusters.values()) == 8
