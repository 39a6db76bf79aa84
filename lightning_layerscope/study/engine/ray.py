"""Run stages as Ray tasks, on a Ray of this machine or on a cluster that shares the folder of results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_layerscope._extras import require
from lightning_layerscope.study.engine.local import Report, run_stage
from lightning_layerscope.study.engine.stage import Context
from lightning_layerscope.study.engine.store import AnyStage, Store

MakeContext = Callable[[], Context]
_HELD: list[tuple[MakeContext, Context]] = []
"""Of this worker process, one at most: what a context keeps in memory stays from one stage to the next."""


@dataclass(frozen=True)
class RayOptions:
    """How stages become Ray tasks.

    Attributes:
        address: Address of a running cluster; None starts a Ray on this machine.
        workers: Number of workers of a Ray on this machine.
        cpus_per_stage: What one stage is given.
        gpus_per_stage: What one stage is given.
        retries: How often a stage whose worker died is tried again.
        show_output: What workers of a Ray on this machine print is printed here.
    """

    address: str | None = None
    workers: int = 2
    cpus_per_stage: float = 1
    gpus_per_stage: float = 0
    retries: int = 2
    show_output: bool = False


def run_on_ray(
    stages: Sequence[AnyStage], store: Store, make_context: MakeContext, options: RayOptions, report: Report
) -> None:
    """Run stages as Ray tasks as soon as what they need is there.

    Args:
        stages: In an order in which they can run.
        store: The store of the pipeline; every worker must see its folder.
        make_context: Makes the context, once in each worker; can be pickled and compared.
        options: Workers, and what each stage is given.
        report: Told of each stage.

    Raises:
        ray.exceptions.RayTaskError: What a stage raised, with its traceback.
        ray.exceptions.WorkerCrashedError: If a stage's worker died more often than it is retried.
    """
    ray = require("ray", extra="ray")
    started = not ray.is_initialized()
    if started:
        _start(ray, options)
    try:
        _Driver(ray, store, make_context, options, report).drive(stages)
    finally:
        if started:
            ray.shutdown()


def _start(ray: Any, options: RayOptions) -> None:
    if options.address is not None:
        ray.init(address=options.address, logging_level="warning")
        return
    ray.init(
        num_cpus=max(1, round(options.workers * options.cpus_per_stage)),
        include_dashboard=False,
        logging_level="warning",
        log_to_driver=options.show_output,
    )


class _Driver:
    def __init__(self, ray: Any, store: Store, make_context: MakeContext, options: RayOptions, report: Report) -> None:
        self.ray, self.store, self.report = ray, store, report
        self.resources = {
            "num_cpus": options.cpus_per_stage,
            "num_gpus": options.gpus_per_stage,
            "max_retries": options.retries,
            # Only the death of a worker is retried: what a stage raises, it would raise again.
            "retry_exceptions": False,
        }
        self.remote = ray.remote(_work)
        self.make_context = ray.put(make_context)

    def drive(self, stages: Sequence[AnyStage]) -> None:
        running: dict[Any, AnyStage] = {}
        waiting: dict[str, AnyStage] = {}
        for stage in stages:
            if self.store.done(stage):
                self.report(stage, "kept")
            else:
                waiting[stage.name] = stage
        while waiting or running:
            unfinished = {*waiting, *(stage.name for stage in running.values())}
            ready = [stage for stage in waiting.values() if not any(each.name in unfinished for each in stage.inputs)]
            # In the order of the list, which has the longest training first; Ray itself would take whatever came
            # ready first. One more than there is room for is what makes a cluster grow that can.
            for stage in ready[: max(0, self._room() + 1 - len(running))]:
                self.report(stage, "start")
                task = self.remote.options(name=stage.name, **self.resources)
                running[task.remote(stage, self.make_context)] = stage
                del waiting[stage.name]
            finished, _ = self.ray.wait(list(running), num_returns=1)
            for reference in finished:
                computed = self.ray.get(reference)
                self.report(running.pop(reference), "done" if computed else "kept")

    def _room(self) -> int:
        """How many stages the machines of this moment can run at a time."""
        there = self.ray.cluster_resources()
        asked = {"CPU": self.resources["num_cpus"], "GPU": self.resources["num_gpus"]}
        return min((int(there.get(name, 0) // amount) for name, amount in asked.items() if amount), default=1)


def _work(stage: AnyStage, make_context: MakeContext) -> bool:
    """One stage, in a worker."""
    if not _HELD or _HELD[0][0] != make_context:
        _HELD[:] = [(make_context, make_context())]
    return run_stage(stage, _HELD[0][1])
