"""A whole study of a small model: what it trains, what it measures, what it says, and what it does again."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from lightning_layerscope.comparison import compare
from lightning_layerscope.extraction import extract_hidden_states
from lightning_layerscope.functional import linear_cka
from lightning_layerscope.profiles import LayerProfile
from lightning_layerscope.references import ReferenceBank
from lightning_layerscope.study.study import Study

from .conftest import PLAN, MakePlan

TASKS = ["larger_number", "parity", "last_word", "to_lumi"]


def test_the_similarities_are_those_of_the_saved_models(finished: Study) -> None:
    """Loaded anew with transformers and peft, without any code of the study."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    stages, store = finished.graph.stages, finished.store
    profiles = {
        role: LayerProfile.from_parquet(finished.results / "profiles" / f"{role}.parquet")
        for role in ("base", "multitask", "drift")
    }
    task = "to_lumi"
    probes = stages[f"probes:{task}"].load(store).probes

    def states(stage: str | None) -> torch.Tensor:
        model = AutoModelForCausalLM.from_pretrained(finished.plan.model)
        if stage is not None:
            model = PeftModel.from_pretrained(model, stages[stage].load(store).folder)
        return extract_hidden_states(model, probes)[task]

    base, multitask, control = states(None), states("multitask"), states(f"control:{task}@0")
    row = profiles["base"].tasks.index(task)
    for role, pair in {"base": (base, control), "multitask": (multitask, control), "drift": (multitask, base)}.items():
        expected = linear_cka(*pair, "debiased")
        assert np.allclose(profiles[role].matrix()[row], expected, atol=1e-6), role
    found = pd.read_csv(finished.results / "tasks.csv").set_index("task").loc[task]
    assert found.encoded == pytest.approx(float(linear_cka(base, control).mean()), abs=1e-6)
    gain = float((linear_cka(multitask, control) - linear_cka(base, control)).mean())
    assert found.gained == pytest.approx(gain, abs=1e-6)
    assert found.gained_low < found.gained < found.gained_high


def test_multitask_and_controls_see_the_same_rows_and_the_held_out_cluster_is_left_out(finished: Study) -> None:
    stages, store = finished.graph.stages, finished.store
    record = stages["multitask"].load(store).record
    assert set(record.rows) == {"larger_number", "parity", "last_word"}
    # A cluster's budget is shared evenly by its tasks.
    assert record.rows == {"larger_number": 64, "parity": 64, "last_word": 128}
    for task in TASKS:
        control = stages[f"control:{task}@0"].load(store).record
        assert control.rows == {task: record.rows.get(task, 128)}
    assert stages["control:parity@0"].data == (stages["data:parity"],)
    assert stages["data:parity"] in stages["multitask"].data


def test_all_is_reported(finished: Study) -> None:
    results = finished.results
    names = {path.stem for path in (results / "figures").glob("*.png")}
    assert {name.partition("_")[0] for name in names} == {f"figure{n}" for n in range(2, 8)}
    for ending in ("svg", "vl.json"):
        assert {path.name for path in (results / "figures").glob(f"*.{ending}")} == {
            f"{name}.{ending}" for name in names
        }
    table = (results / "table.md").read_text()
    assert all(f"| {task}" in table for task in TASKS)
    page = (results / "report.html").read_text()
    assert page.count("data:image/png;base64,") == len(names)
    assert not re.search(r"(src|href)=\"https?:", page)
    assert "one seed per control" in page
    summary = json.loads((results / "summary.json").read_text())
    assert summary["tasks"] == 4
    assert summary["unseen_tasks"] == 1
    assert (
        "at least 8 needed" in " ".join(summary["transitions"].values()) or "layers" in summary["transitions"]["base"]
    )
    cuts = json.loads((results / "signals.json").read_text())["cuts"]
    assert [cut["name"] for cut in cuts] == [
        "median",
        "spread",
        "tuned - base",
        "crossing",
        "components",
        "neighbours",
    ]


def test_trainings_carry_the_monitor(finished: Study) -> None:
    for name, tasks in (("control:parity@0", {"parity"}), ("multitask", {"larger_number", "parity", "last_word"})):
        folder = finished.store.folder(finished.graph.stages[name]) / "monitor"
        profile = LayerProfile.from_parquet(folder / "profile.parquet")
        assert set(profile.tasks) == tasks
        assert len(profile.steps) == 2
        assert profile.matrix(step=0).min() > 0.999999
        assert profile.matrix().min() < 0.999


def test_the_base_model_is_untouched_by_all_that_was_done_on_it(finished: Study) -> None:
    model = finished.context.models.base()
    stored = load_file(Path(finished.plan.model) / "model.safetensors")
    state = model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in stored.items())
    assert not [name for name in state if "lora" in name]


def test_everything_is_kept_and_a_changed_plan_runs_what_depends_on_it(finished: Study, model: Path) -> None:
    folder = finished.store.root

    def computed(change: tuple[str, str]) -> list[str]:
        path = folder.parent / "changed.yaml"
        path.write_text(PLAN.format(model=model, folder=folder).replace(*change))
        study = Study.from_yaml(path)
        return [stage.name for stage in study.stages() if not study.store.done(stage)]

    assert computed(("", "")) == []
    assert computed(("threads: 1", "threads: 1\nmap_layers: [2]")) == ["results"]
    assert computed(("threads: 1", "threads: 1\nestimator: biased"))[-1] == "results"
    # Another task: its own stages and the results; the multi-task model is trained on other clusters.
    new = computed(("to_lumi]", "to_lumi, from_lumi]"))
    assert all("from_lumi" in name or name in ("results",) or "to_lumi" in name for name in new)
    assert "multitask" not in new
    assert not [name for name in new if "parity" in name]
    longer = computed(("epochs: 1", "epochs: 2"))
    assert "multitask" in longer
    assert not [name for name in longer if name.startswith(("data:", "states:base:"))]


def test_stages_run_alone(make_plan: MakePlan) -> None:
    study = Study(make_plan())
    done: list[str] = []
    assert study.run(["control:parity"], lambda stage, what: done.append(f"{stage.name} {what}")) is None
    assert done == [
        "data:parity start",
        "data:parity done",
        "probes:parity start",
        "probes:parity done",
        "control:parity@0 start",
        "control:parity@0 done",
    ]
    with pytest.raises(ValueError, match=r"no stage 'controls:parity'.*did you mean 'control:parity@0'"):
        study.run(["controls:parity"])
    with pytest.raises(FileNotFoundError, match=r"no results yet: 3 of 30 stages are done"):
        study.publish()


def test_equal_steps_full_fine_tuning_and_two_seeds(make_plan: MakePlan) -> None:
    text = PLAN.replace("parity, last_word, to_lumi", "parity").replace("held_out: [translation]", "")
    text = text.replace("{{learning", "{{method: full, control_seeds: [0, 1], learning")
    text = text.replace("same_examples", "equal_steps")
    study = Study(make_plan(text + "measures: [cka, rsa]\n"))
    results = study.run()
    assert results is not None
    records = {name: stage.load(study.store).record for name, stage in study.graph.stages.items() if stage.trains}
    assert len(records) == 5
    assert {record.steps for record in records.values()} == {4}
    assert records["multitask"].trainable == sum(p.numel() for p in study.context.models.base().parameters())
    rows = pd.read_csv(results / "tasks.csv")
    assert (rows["noise"] >= 0).all()
    facts = study.graph.stages["compare:parity"].load(study.store).facts
    assert all(0 < value < 0.9999 for value in facts.controls.gains.control_agreement)
    assert "one seed per control" not in (results / "report.html").read_text()

    # Every measure is the mean over the seeds' controls.
    def bank(role: str) -> ReferenceBank:
        return study.graph.stages[f"states:{role}:parity"].load(study.store).bank()

    profile = LayerProfile.from_parquet(results / "profiles" / "base.parquet")
    for measure in ("cka", "rsa"):
        each = [
            compare(bank("base"), bank(f"control@{seed}+equal_steps"), measure=measure).matrix(measure)
            for seed in (0, 1)
        ]
        row = profile.tasks.index("parity")
        assert np.allclose(profile.matrix(measure)[row], np.mean(each, axis=0)[0], atol=1e-9), measure
    rsa = profile.frame.query("measure == 'rsa'")
    assert (rsa["low"] < rsa["value"]).all()
    assert (rsa["value"] < rsa["high"]).all()
