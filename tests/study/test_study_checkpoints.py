"""Two models that exist already: three lines of YAML, no training."""

from pathlib import Path

import pandas as pd

from lightning_layerscope.study.study import Study
from lightning_layerscope.training import add_lora

from .conftest import MakePlan, save_model

THREE_LINES = "tasks: toy\nmodel: {model}\ntuned: {tuned}\n"
SMALL = "probes: {{examples_per_task: 8}}\noutput_dir: {folder}\n"


def save_adapter(base: Path, folder: Path) -> Path:
    from transformers import AutoModelForCausalLM

    model = add_lora(AutoModelForCausalLM.from_pretrained(base))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.fill_(0.01)
    model.save_pretrained(folder)
    return folder


def test_a_checkpoint_against_another(make_plan: MakePlan, tmp_path: Path) -> None:
    tuned = save_model(tmp_path / "tuned", seed=1)
    study = Study(make_plan(THREE_LINES + SMALL, tuned=tuned))
    assert not [stage for stage in study.stages() if stage.trains]
    results = study.run()
    assert results is not None
    rows = pd.read_csv(results / "tasks.csv")
    assert len(rows) == 24
    assert (rows["drift_mean_cka"] < 0.9).all()
    assert rows["loss_tuned"].notna().all()
    names = {path.stem.partition("_")[0] for path in (results / "figures").glob("*.png")}
    assert {"figure2", "figure3", "figure4", "figure5", "figure6"} <= names
    assert "farthest from the base model at layer" in (results / "report.html").read_text()


def test_an_adapter_against_its_base(make_plan: MakePlan, model: Path, tmp_path: Path) -> None:
    adapter = save_adapter(model, tmp_path / "adapter")
    study = Study(make_plan(THREE_LINES + SMALL, tuned=adapter))
    assert study.run(["compare:parity", "compare:topic"]) is None
    for task in ("parity", "topic"):
        comparison = study.graph.stages[f"compare:{task}"].load(study.store)
        assert 0.5 < comparison.drift.matrix().mean() < 0.99999
        # No control, nothing to judge by.
        assert comparison.facts.controls is None
