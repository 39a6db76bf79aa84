"""``layerscope study``: asks before it trains, says what it did."""

import argparse
import re
from pathlib import Path

import pytest

from lightning_layerscope.study.command import _progress, add_parser
from lightning_layerscope.study.study import Study

from .conftest import PLAN
from .stages_for_tests import Step


def call(*arguments: object) -> None:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    options = parser.parse_args(["study", *map(str, arguments)])
    options.run(options)


@pytest.fixture
def path(tmp_path: Path, model: Path) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN.format(model=model, folder=tmp_path / "study"))
    return path


def test_plan_tells_the_cost_and_starts_nothing(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("plan", path)
    told = capsys.readouterr().out
    assert "trained on 3 tasks, 1 held out" in told
    assert "stages          30 (0 done)" in told
    assert "trainings       5 to do" in told
    # Rows of the multi-task model (256) and of the controls (256 and the held-out task's 128), one epoch.
    assert "rows to train   640 (epochs counted)" in told
    assert "measurements    12 of a model on a task, 288 prompts, 288 held-out rows" in told
    # Two layers, q_proj and v_proj, rank 8: 2 * 2 * 8 * (16 + 16).
    assert "1,024 of" in told
    assert "time            about" in told
    assert list((path.parent / "study" / "stages").iterdir()) == []


def test_without_yes_and_without_a_terminal_nothing_starts(path: Path) -> None:
    with pytest.raises(ValueError, match="5 trainings would start, and nobody can be asked; add --yes"):
        call("run", path)
    assert list((path.parent / "study" / "stages").iterdir()) == []


def test_stages_that_train_nothing_run_without_a_question(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("run", path, "--only", "states:base:parity", "data")
    told = capsys.readouterr().out
    assert "data:to_lumi" in told
    assert "states:base:parity" in told
    call("status", path)
    told = capsys.readouterr().out
    assert "data           4 of 4" in told
    assert "control        0 of 4" in told
    with pytest.raises(FileNotFoundError, match="no results yet: 6 of 30 stages are done"):
        call("report", path)


@pytest.mark.parametrize("answer", ["", "n", "no"])
def test_a_person_is_asked_and_may_say_no(
    path: Path, answer: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or answer)
    call("run", path)
    assert asked == ["Start 5 trainings? [y/N] "]
    told = capsys.readouterr().out
    assert "trainings       5 to do" in told
    assert "nothing was started" in told
    assert list((path.parent / "study" / "stages").iterdir()) == []


def test_progress_counts_what_was_kept(capsys: pytest.CaptureFixture[str]) -> None:
    report = _progress(4)
    one, two, three, four = (Step(f"data:{name}") for name in "abcd")
    for stage, what in ((one, "kept"), (two, "kept"), (three, "start"), (four, "start"), (four, "busy")):
        report(stage, what)
    report(three, "done")
    report(four, "kept")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[   2/4] data:d: another runner is at it"
    assert lines[1] == "[   2/4] 2 stages kept"
    assert re.fullmatch(r"\[   3/4\] data:c \d+\.\d s", lines[2])
    assert len(lines) == 3


def test_report_prints_the_table(finished: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("report", finished.store.root.parent / "plan.yaml")
    told = capsys.readouterr().out
    assert "| task | cluster | seen |" in told
    assert str(finished.results / "report.html") in told
