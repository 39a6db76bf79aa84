"""Killed anywhere and started again, or run by several at once: the same numbers."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lightning_layerscope.study.engine.local import run_locally
from lightning_layerscope.study.engine.store import AnyStage, Store
from lightning_layerscope.study.study import Study

from .conftest import PLAN
from .numbers import assert_same_numbers
from .stages_for_tests import Step, Steps

RUN = """
import sys
from lightning_layerscope.study.study import Study
Study.from_yaml(sys.argv[1]).run(report=lambda stage, what: print(stage.name, what, flush=True))
"""


def start(path: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


@pytest.mark.slow
def test_two_kills_leave_the_numbers_as_they_are(tmp_path: Path, model: Path, finished: Study) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN.format(model=model, folder=tmp_path / "study"))
    # Inside a training both times: the most that can be lost.
    for stage in ("multitask", "control:last_word@0"):
        runner = start(path)
        assert runner.stdout is not None
        for line in runner.stdout:
            if line == f"{stage} start\n":
                break
        else:
            pytest.fail(f"the run ended before {stage}")
        runner.kill()
        runner.communicate()
    study = Study.from_yaml(path)
    done: list[str] = []
    results = study.run(report=lambda stage, what: done.append(f"{stage.name} {what}"))
    assert "multitask kept" in done
    assert "control:last_word@0 done" in done
    assert results is not None
    assert_same_numbers(results, finished.results)


def test_a_stage_that_another_runner_took_first_waits_behind_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the lock and the taking of it another runner was faster."""
    store, stages = Store(tmp_path), [Step("taken"), Step("free")]
    monkeypatch.setattr(Store, "busy", lambda self, stage: False)
    told: list[str] = []
    other = store.produce(stages[0])
    work = other.__enter__()
    assert work is not None

    def report(stage: AnyStage, what: str) -> None:
        told.append(f"{stage.name} {what}")
        if told[-1] == "free done":
            (work / "out").write_text("of the other")
            other.__exit__(None, None, None)

    run_locally(stages, Steps(store), report)
    assert told == ["taken start", "taken busy", "free start", "free done", "taken kept"]
    assert (store.folder(stages[0]) / "out").read_text() == "of the other"


def test_two_runners_share_the_work(tmp_path: Path) -> None:
    leaves = [Step(f"leaf:{number}") for number in range(8)]
    stages = [*leaves, Step("sum", {}, tuple(leaves))]
    computed: list[tuple[str, str]] = []
    both, met = threading.Barrier(2), set[str]()

    def work(name: str) -> None:
        def do(stage: Step, store: Store, folder: Path) -> None:
            # Each runner's first stage is worked at beside the other's, or this would end in a broken barrier.
            if name not in met:
                met.add(name)
                both.wait(timeout=20)
            computed.append((name, stage.name))
            (folder / "out").write_text(name)

        run_locally(stages, Steps(Store(tmp_path), do), lambda stage, what: None)

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(stage for _, stage in computed) == sorted(stage.name for stage in stages)
    assert {name for name, _ in computed} == {"a", "b"}
    assert all(Store(tmp_path).done(stage) for stage in stages)
