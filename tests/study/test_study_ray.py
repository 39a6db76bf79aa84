"""Ray workers give the numbers of one process; a worker that dies is replaced."""

import os
import signal
from pathlib import Path

import pytest

from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.store import Stage, Store
from lightning_layerscope.study.study import Study

from .conftest import PLAN
from .numbers import assert_same_numbers

ray = pytest.importorskip("ray")

# Ray's own: it forks, warns about the future of its defaults and leaves sockets to the garbage collector.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


class DieOnce:
    """Kills its worker the first time it is at stage ``a``."""

    def __call__(self, stage: Stage, store: Store, folder: Path) -> None:
        mark = store.root / "died"
        if stage.name == "a" and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        (folder / "out").write_text(stage.name)


def test_same_numbers_with_two_workers_and_a_dead_worker_is_retried(
    tmp_path: Path, model: Path, finished: Study
) -> None:
    from lightning_layerscope.study.ray import run_on_ray

    path = tmp_path / "plan.yaml"
    path.write_text(PLAN.format(model=model, folder=tmp_path / "study") + "executor: ray\nray: {workers: 2}\n")
    study = Study.from_yaml(path)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        results = study.run()
        store, first = Store(tmp_path / "other"), Stage("a", {})
        done: list[str] = []
        plan = StudyPlan.model_validate({"model": "m", "tasks": "toy"})
        run_on_ray(
            [first, Stage("b", {}, (first,))],
            store,
            plan,
            lambda stage, what: done.append(f"{stage.name} {what}"),
            runner=DieOnce(),
        )
    finally:
        ray.shutdown()
    assert results is not None
    assert_same_numbers(results, finished.results)
    assert done == ["a start", "a done", "b start", "b done"]
    assert (store.root / "died").exists()
