"""The scripts behind the page on advice run at toy size, and again only what is missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("peft")
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def run(script, *arguments):
    environment = os.environ | {"PYTHONPATH": str(BENCHMARKS.parent), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, BENCHMARKS / script, *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True, env=environment).stdout


def test_trials_are_made_once_and_told(toy, tmp_path):
    model, tokenizer, tasks = toy
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    options = ["--model", tmp_path / "model", "--plan", "smoke", "--tasks", "toy", "--names", *tasks]
    options += ["--seeds", "0", "--out", tmp_path / "results", "--threads", "1", "--selectors", "all", "last"]
    first = run("advice.py", *options)
    assert "all seed 0: loss" in first
    assert "last seed 0: loss" in first
    again = run("advice.py", *options, "first")
    assert "all seed 0" not in again
    assert "first seed 0: loss" in again
    table = run("advice_table.py", tmp_path / "results")
    assert "| selector | layers | seeds | loss |" in table
    assert "It rests on 3 short trainings" in table
    assert "Rank correlation over 4 layers:" in table


@pytest.mark.parametrize("plan", ["gemma", "small_llama"])
def test_the_recorded_trials_are_whole(plan):
    from lightning_layerscope.advice.trial_file import read_lines

    path = BENCHMARKS / "advice_results" / f"{plan}.jsonl"
    if not path.is_file():
        pytest.skip(f"no trial of the plan {plan} is recorded")
    lines = read_lines(path)
    spent = {line.parameters for line in lines.values() if line.selector != "base"}
    assert max(spent) - min(spent) <= 0.01 * min(spent)
    assert {len(line.loss) for line in lines.values()} == {12}
    assert {len(line.retention) for line in lines.values()} == {6}
