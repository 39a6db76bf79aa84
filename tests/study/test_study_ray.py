"""Ray workers give the numbers of one process; a worker that dies is replaced."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from lightning_layerscope.study.engine.ray import RayOptions, run_on_ray
from lightning_layerscope.study.engine.store import Store
from lightning_layerscope.study.study import Study

from .conftest import PLAN
from .numbers import assert_same_numbers
from .stages_for_tests import Step, Steps

ray = pytest.importorskip("ray")

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class DieOnce:
    """Makes a context that kills its worker the first time it is at stage ``a``."""

    root: Path

    def __call__(self) -> Steps:
        return Steps(Store(self.root), die_once)


def die_once(stage: Step, store: Store, folder: Path) -> None:
    mark = store.root / "died"
    if stage.name == "a" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / "out").write_text(stage.name)


def test_same_numbers_with_two_workers_and_a_dead_worker_is_retried(
    tmp_path: Path, model: Path, finished: Study
) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN.format(model=model, folder=tmp_path / "study") + "executor: ray\nray: {workers: 2}\n")
    study = Study.from_yaml(path)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        results = study.run()
        store, first = Store(tmp_path / "other"), Step("a")
        done: list[str] = []
        run_on_ray(
            [first, Step("b", {}, (first,))],
            store,
            DieOnce(store.root),
            RayOptions(),
            lambda stage, what: done.append(f"{stage.name} {what}"),
        )
    finally:
        ray.shutdown()
    assert results is not None
    assert_same_numbers(results, finished.results)
    assert done == ["a start", "a done", "b start", "b done"]
    assert (store.root / "died").exists()
