"""The causal check as a stage: its numbers are those of the models alone, and it makes nothing else anew."""

import html
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lightning_layerscope.advice.check import check_rows
from lightning_layerscope.advice.check_models import check_layers
from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.prepare.graph import build_graph
from lightning_layerscope.study.study import Study
from lightning_layerscope.tasks import Example, Task, TaskCollection
from lightning_layerscope.training.encoding import encode_examples

from .conftest import PLAN, MakePlan, save_model

CHECK = "layer_check: {rows_per_task: 6}\n"


def test_a_finished_study_is_checked_without_another_training(tmp_path: Path, model: Path, finished: Study) -> None:
    shutil.copytree(finished.store.root, tmp_path / "study")
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN.format(model=model, folder=tmp_path / "study") + CHECK)
    study = Study.from_yaml(path)
    todo = {name for name, stage in study.graph.stages.items() if not study.store.done(stage)}
    tasks = ("larger_number", "parity", "last_word", "to_lumi")
    assert todo == {*(f"check:{task}" for task in tasks), "results"}
    results = study.run()
    assert results is not None
    frame = pd.read_csv(results / "layer_check.csv").set_index(["way", "task", "layer"])
    stages = study.graph.stages
    rows = stages["probes:parity"].load(study.store).rows.split("test")[:6]
    with study.context.models.tuned(stages["multitask"].load(study.store).folder) as tuned:
        encoded = encode_examples("parity", rows, study.context.tokenizer, max_length=1024)
        expected = check_rows(tuned, encoded)
    for way in ("alone", "from_bottom", "from_top"):
        for layer, change in enumerate(expected.change(way), start=1):
            found = frame.loc[way, "parity", layer]
            np.testing.assert_allclose(found.to_numpy(), [change.value, change.low, change.high], rtol=1e-4, atol=1e-6)
    summary = json.loads((results / "summary.json").read_text())
    assert re.match("(The answers rest on the training of layers|No layer alone is missed)", summary["layer_check"])
    assert summary["layer_check"] in html.unescape((results / "report.html").read_text())


def test_two_checkpoints_are_checked_too(tmp_path: Path, model: Path) -> None:
    tuned = save_model(tmp_path / "tuned", seed=1)
    path = tmp_path / "plan.yaml"
    path.write_text(
        f"model: {model}\ntuned: {tuned}\noutput_dir: {tmp_path / 'study'}\ntasks: {{source: toy, select: [parity]}}\n"
        "probes: {examples_per_task: 8, min_examples: 8}\nlayer_check: {rows_per_task: 8, ways: [alone]}\nthreads: 1\n"
    )
    results = Study.from_yaml(path).run()
    assert results is not None
    frame = pd.read_csv(results / "layer_check.csv")
    tasks = Study.from_yaml(path).context.tasks
    alone = check_layers(model, tuned, tasks, rows_per_task=8, max_length=1024, ways=["alone"])
    expected = [change.value for change in alone.change("alone")]
    assert set(frame["way"]) == {"alone"}
    np.testing.assert_allclose(frame[frame["task"] == "mean"]["value"], expected, rtol=1e-4)


def test_rows_without_answers_are_told_before_anything_runs(make_plan: MakePlan) -> None:
    plan: StudyPlan = make_plan("model: {model}\ntuned: {model}\noutput_dir: {folder}\ntasks: toy\nlayer_check: {{}}\n")
    silent = TaskCollection(
        [Task("silent", "c", {"test": tuple(Example("", f"say {n}", "", f"{n}") for n in range(9))})]
    )
    with pytest.raises(ValueError, match="'silent' has held-out rows without one"):
        build_graph(plan, silent, {"base": "1", "tuned": "2"})
