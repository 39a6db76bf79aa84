"""Results are there whole or not at all, whoever is killed and however many run."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lightning_layerscope.study.engine.local import run_locally, run_stage
from lightning_layerscope.study.engine.store import Store

from .stages_for_tests import Step, Steps


def write_name(stage: Step, store: Store, folder: Path) -> None:
    (folder / "out").write_text(stage.name + "".join((store.folder(need) / "out").read_text() for need in stage.needs))


def test_a_fingerprint_depends_on_settings_and_inputs() -> None:
    data = Step("data:a", {"rows": 1})
    same = Step("train:a", {"lr": 0.1}, (data,))
    assert same.fingerprint == Step("train:a", {"lr": 0.1}, (Step("data:a", {"rows": 1}),)).fingerprint
    others = [
        Step("train:a", {"lr": 0.2}, (data,)),
        Step("train:a", {"lr": 0.1}),
        Step("train:b", {"lr": 0.1}, (data,)),
        Step("train:a", {"lr": 0.1}, (Step("data:a", {"rows": 2}),)),
    ]
    assert len({same.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_results_are_kept_and_reused(tmp_path: Path) -> None:
    store, calls = Store(tmp_path), []
    stages = [Step("data:a", {}), Step("sum", {}, (Step("data:a", {}),))]

    def runner(stage: Step, store: Store, folder: Path) -> None:
        calls.append(stage.name)
        write_name(stage, store, folder)

    events: list[tuple[str, str]] = []
    for _ in range(2):
        run_locally(stages, Steps(store, runner), lambda stage, what: events.append((stage.name, what)))
    assert calls == ["data:a", "sum"]
    assert events == [
        ("data:a", "start"),
        ("data:a", "done"),
        ("sum", "start"),
        ("sum", "done"),
        ("data:a", "kept"),
        ("sum", "kept"),
    ]
    assert (store.folder(stages[1]) / "out").read_text() == "sumdata:a"
    assert json.loads((store.folder(stages[1]) / "stage.json").read_text())["inputs"] == {
        "data:a": stages[0].fingerprint
    }


def test_a_stage_without_its_inputs_says_which_to_run(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"needs 'data:a'.*--only data:a"):
        run_stage(Step("sum", {}, (Step("data:a", {}),)), Steps(Store(tmp_path), write_name))


def test_a_failing_stage_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def broken(stage: Step, store: Store, folder: Path) -> None:
        (folder / "half").write_text("x")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run_stage(Step("data:a", {}), Steps(store, broken))
    assert list(store.stages.iterdir()) == []


WORKER = """
import sys, time
from pathlib import Path
from lightning_layerscope.study.engine.local import run_stage
from lightning_layerscope.study.engine.store import Store
from tests.study.stages_for_tests import Step, Steps
def slow(stage, store, folder):
    (folder / "out").write_text("half")
    print("working", flush=True)
    time.sleep(float(sys.argv[2]))
    (folder / "out").write_text("whole")
print(run_stage(Step("slow", {}), Steps(Store(Path(sys.argv[1])), slow)), flush=True)
"""


def start(tmp_path: Path, seconds: float) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(tmp_path), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def test_a_killed_stage_is_done_again_and_its_remains_go(tmp_path: Path) -> None:
    victim = start(tmp_path, 60)
    assert victim.stdout is not None
    assert victim.stdout.readline() == "working\n"
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    store = Store(tmp_path)
    assert not store.done(Step("slow", {}))
    assert len(list(store.stages.iterdir())) == 1
    assert start(tmp_path, 0).communicate()[0] == "working\nTrue\n"
    assert [path.name for path in store.stages.iterdir()] == [store.folder(Step("slow", {})).name]
    assert (store.folder(Step("slow", {})) / "out").read_text() == "whole"


def test_a_second_runner_waits_and_does_not_do_it_again(tmp_path: Path) -> None:
    first = start(tmp_path, 1.5)
    assert first.stdout is not None
    assert first.stdout.readline() == "working\n"
    begun = time.monotonic()
    assert start(tmp_path, 0).communicate()[0] == "False\n"
    assert time.monotonic() - begun > 0.2
    assert first.communicate()[0] == "True\n"
