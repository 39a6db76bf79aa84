"""The causal check from folders, and as a command."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from lightning_layerscope import check_layers
from lightning_layerscope.advice.correlation import rank_correlation
from lightning_layerscope.cli import main

peft = pytest.importorskip("peft")


@pytest.fixture(scope="module")
def place(toy, tmp_path_factory):
    """A base model, one whose layer 2 was changed, and an adapter on layer 3 alone."""
    from lightning_layerscope.training import add_lora

    model, tokenizer, _ = toy
    folder = tmp_path_factory.mktemp("check")
    for name in ("base", "tuned"):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    tuned = type(model).from_pretrained(folder / "tuned")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in tuned.model.layers[1].parameters():
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=generator))
    tuned.save_pretrained(folder / "tuned")
    adapted = add_lora(type(model).from_pretrained(folder / "base"), layers=[3])
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator))
    adapted.peft_config["default"].base_model_name_or_path = str(folder / "base")
    adapted.save_pretrained(folder / "adapter")
    (folder / "tasks").mkdir()
    for name, task in toy[2].items():
        rows = [{"split": "test", "input": e.input, "output": e.output} for e in task.split("test")]
        (folder / "tasks" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


def test_two_checkpoints(place, toy):
    check = check_layers(place / "base", place / "tuned", toy[2], rows_per_task=6, max_length=96)
    changed = [float(np.abs(losses - check.tuned).max()) > 1e-4 for losses in check.restored["alone"]]
    assert changed == [False, True, False, False]
    drift = np.mean([check.drift[task] for task in check.tasks], axis=0)
    assert drift[0] == pytest.approx(0, abs=1e-5)
    assert drift[1] > 0.01
    assert len(check.row_tasks) == 18
    frame = check.to_frame()
    assert len(frame) == 3 * 4 * 4
    assert set(frame["task"]) == {"mean", *toy[2]}


def test_an_adapter_on_its_base(place, toy):
    check = check_layers(place / "base", place / "adapter", toy[2], rows_per_task=6, max_length=96, ways=["alone"])
    changed = [float(np.abs(losses - check.tuned).max()) > 1e-4 for losses in check.restored["alone"]]
    assert changed == [False, False, True, False]
    assert np.mean([check.drift[task] for task in check.tasks], axis=0)[:2] == pytest.approx([0, 0], abs=1e-5)


def test_the_command_prints_the_curves_and_writes_the_rows(place, tmp_path, capsys):
    out = tmp_path / "check.parquet"
    arguments = [
        "check",
        place / "base",
        place / "tuned",
        "--tasks",
        place / "tasks",
        "--rows",
        "4",
        "--max-length",
        "96",
    ]
    assert main([*map(str, arguments), "--alone", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[1].split()[:2] == ["layer", "drift"]
    assert "Rank correlation of drift and change of loss" in printed
    assert set(pd.read_parquet(out)["layer"]) == {1, 2, 3, 4}
    assert main([*map(str, arguments), "--alone", "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_a_model_in_memory_needs_its_tokenizer(toy):
    with pytest.raises(ValueError, match="pass tokenizer="):
        check_layers(None, toy[0], toy[2])


class TestRankCorrelation:
    """Against scipy on the means, and an interval that knows its units."""

    def test_value(self):
        generator = np.random.default_rng(0)
        one, other = generator.normal(size=(2, 6, 10))
        expected = spearmanr(one.mean(axis=0), other.mean(axis=0)).statistic
        assert rank_correlation(one, other).value == pytest.approx(expected)

    def test_agreeing_curves_are_seen_and_unrelated_ones_are_not(self):
        generator = np.random.default_rng(1)
        depth = np.arange(12.0)
        one, other = (depth + generator.normal(size=(8, 12)) for _ in range(2))
        assert rank_correlation(one, other).low > 0.5
        found = rank_correlation(*generator.normal(size=(2, 8, 12)))
        assert found.low < 0 < found.high

    def test_undefined_layers_are_left_out_and_one_unit_has_no_interval(self):
        one = np.array([[np.nan, 1.0, 2.0, 3.0]])
        found = rank_correlation(one, np.array([[9.0, 1.0, 2.0, 3.0]]))
        assert found.value == pytest.approx(1)
        assert np.isnan(found.low)
        with pytest.raises(ValueError, match="layers >= 3"):
            rank_correlation(one[:, :2], one[:, :2])
