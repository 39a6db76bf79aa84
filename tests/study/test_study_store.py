"""Results are there whole or not at all, whoever is killed and however many run."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lightning_layerscope.study.execute import run_locally, run_stage
from lightning_layerscope.study.store import Stage, Store


def write_name(stage: Stage, store: Store, folder: Path) -> None:
    (folder / "out.txt").write_text(
        stage.name + "".join((store.folder(need) / "out.txt").read_text() for need in stage.needs)
    )


def test_a_fingerprint_depends_on_settings_and_inputs() -> None:
    data = Stage("data:a", {"rows": 1})
    same = Stage("train:a", {"lr": 0.1}, (data,))
    assert same.fingerprint == Stage("train:a", {"lr": 0.1}, (Stage("data:a", {"rows": 1}),)).fingerprint
    others = [
        Stage("train:a", {"lr": 0.2}, (data,)),
        Stage("train:a", {"lr": 0.1}),
        Stage("train:b", {"lr": 0.1}, (data,)),
        Stage("train:a", {"lr": 0.1}, (Stage("data:a", {"rows": 2}),)),
    ]
    assert len({same.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_results_are_kept_and_reused(tmp_path: Path) -> None:
    store, calls = Store(tmp_path), []
    stages = [Stage("data:a", {}), Stage("sum", {}, (Stage("data:a", {}),))]

    def runner(stage: Stage, store: Store, folder: Path) -> None:
        calls.append(stage.name)
        write_name(stage, store, folder)

    events: list[tuple[str, str]] = []
    for _ in range(2):
        run_locally(stages, store, runner, lambda stage, what: events.append((stage.name, what)))
    assert calls == ["data:a", "sum"]
    assert events == [
        ("data:a", "start"),
        ("data:a", "done"),
        ("sum", "start"),
        ("sum", "done"),
        ("data:a", "kept"),
        ("sum", "kept"),
    ]
    assert (store.folder(stages[1]) / "out.txt").read_text() == "sumdata:a"
    assert json.loads((store.folder(stages[1]) / "stage.json").read_text())["needs"] == {
        "data:a": stages[0].fingerprint
    }


def test_a_stage_without_its_inputs_says_which_to_run(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"needs 'data:a'.*--only data:a"):
        run_stage(Stage("sum", {}, (Stage("data:a", {}),)), Store(tmp_path), write_name)


def test_an_undeclared_input_is_an_error() -> None:
    with pytest.raises(KeyError, match="does not declare 'data:b'"):
        Stage("sum", {}, (Stage("data:a", {}),)).need("data:b")


def test_a_failing_stage_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def broken(stage: Stage, store: Store, folder: Path) -> None:
        (folder / "half").write_text("x")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run_stage(Stage("data:a", {}), store, broken)
    assert list(store.stages.iterdir()) == []


WORKER = """
import sys, time
from pathlib import Path
from lightning_layerscope.study.execute import run_stage
from lightning_layerscope.study.store import Stage, Store
def slow(stage, store, folder):
    (folder / "out.txt").write_text("half")
    print("working", flush=True)
    time.sleep(float(sys.argv[2]))
    (folder / "out.txt").write_text("whole")
print(run_stage(Stage("slow", {}), Store(Path(sys.argv[1])), slow), flush=True)
"""


def start(tmp_path: Path, seconds: float) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(tmp_path), str(seconds)], stdout=subprocess.PIPE, text=True
    )


def test_a_killed_stage_is_done_again_and_its_remains_go(tmp_path: Path) -> None:
    victim = start(tmp_path, 60)
    assert victim.stdout is not None
    assert victim.stdout.readline() == "working\n"
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    store = Store(tmp_path)
    assert not store.done(Stage("slow", {}))
    assert len(list(store.stages.iterdir())) == 1
    assert start(tmp_path, 0).communicate()[0] == "working\nTrue\n"
    assert [path.name for path in store.stages.iterdir()] == [store.folder(Stage("slow", {})).name]
    assert (store.folder(Stage("slow", {})) / "out.txt").read_text() == "whole"


def test_a_second_runner_waits_and_does_not_do_it_again(tmp_path: Path) -> None:
    first = start(tmp_path, 1.5)
    assert first.stdout is not None
    assert first.stdout.readline() == "working\n"
    begun = time.monotonic()
    assert start(tmp_path, 0).communicate()[0] == "False\n"
    assert time.monotonic() - begun > 0.2
    assert first.communicate()[0] == "True\n"
