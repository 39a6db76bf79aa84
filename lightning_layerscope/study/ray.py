"""Run the stages of a study as Ray tasks, on a Ray of this machine or on a cluster that shares the study's folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning_layerscope._extras import require
from lightning_layerscope.study.execute import Report, Runner, run_stage
from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.store import Stage, Store
from lightning_layerscope.training.progress import is_shown, showing
from lightning_layerscope.training.quiet import quiet

_RUNNERS: dict[str, Runner] = {}
"""Of this worker process: the base model stays in memory from one stage to the next."""


def run_on_ray(
    stages: Sequence[Stage], store: Store, plan: StudyPlan, report: Report, *, runner: Runner | None = None
) -> None:
    """Run stages as Ray tasks as soon as what they need is there.

    Args:
        stages: In an order in which they can run.
        store: Of the study; every worker must see its folder.
        plan: The study's plan, with the settings of Ray.
        report: Told of each stage.
        runner: Does the work; by default each worker makes a :class:`StudyRunner` of the plan. Must be picklable.

    Raises:
        ray.exceptions.RayTaskError: What a stage raised, with its traceback.
        ray.exceptions.WorkerCrashedError: If a stage's worker died more often than it is retried.
    """
    ray = require("ray", extra="ray")
    settings = plan.ray
    started = not ray.is_initialized()
    if started:
        _start(ray, settings)
    try:
        options = {
            "num_cpus": settings.cpus_per_stage,
            "num_gpus": settings.gpus_per_stage,
            "max_retries": settings.retries,
            # Only the death of a worker is retried: what a stage raises, it would raise again.
            "retry_exceptions": False,
        }
        _drive(ray, options, stages, store, plan, report, runner)
    finally:
        if started:
            ray.shutdown()


def _start(ray: Any, settings: Any) -> None:
    if settings.address is not None:
        ray.init(address=settings.address, logging_level="warning")
        return
    ray.init(
        num_cpus=max(1, round(settings.workers * settings.cpus_per_stage)),
        include_dashboard=False,
        logging_level="warning",
        log_to_driver=is_shown(),
    )


def _drive(
    ray: Any,
    options: dict[str, Any],
    stages: Sequence[Stage],
    store: Store,
    plan: StudyPlan,
    report: Report,
    runner: Runner | None,
) -> None:
    remote = ray.remote(_work)
    running: dict[Any, Stage] = {}
    plan_ref, runner_ref = ray.put(plan), ray.put(runner)
    waiting: dict[str, Stage] = {}
    for stage in stages:
        if store.done(stage):
            report(stage, "kept")
        else:
            waiting[stage.name] = stage
    while waiting or running:
        unfinished = {*waiting, *(stage.name for stage in running.values())}
        ready = [stage for stage in waiting.values() if not any(need.name in unfinished for need in stage.needs)]
        # In the order of the list, which has the longest training first; Ray itself would take whatever came ready
        # first. One more than there is room for is what makes a cluster grow that can.
        for stage in ready[: max(0, _room(ray, options) + 1 - len(running))]:
            report(stage, "start")
            ref = remote.options(name=stage.name, **options).remote(
                stage, str(store.root), plan_ref, runner_ref, is_shown()
            )
            running[ref] = stage
            del waiting[stage.name]
        finished, _ = ray.wait(list(running), num_returns=1)
        for ref in finished:
            computed = ray.get(ref)
            report(running.pop(ref), "done" if computed else "kept")


def _room(ray: Any, options: dict[str, Any]) -> int:
    """How many stages the machines of this moment can run at a time."""
    there = ray.cluster_resources()
    asked = {"CPU": options["num_cpus"], "GPU": options["num_gpus"]}
    return min((int(there.get(name, 0) // amount) for name, amount in asked.items() if amount), default=1)


def _work(stage: Stage, root: str, plan: StudyPlan, runner: Runner | None, shown: bool) -> bool:
    """One stage, in a worker; its progress goes the way of its output, which Ray hands to who waits."""
    if runner is None:
        key = plan.model_dump_json()
        if key not in _RUNNERS:
            from lightning_layerscope.study.runner import StudyRunner

            _RUNNERS.clear()
            _RUNNERS[key] = StudyRunner(plan)
        runner = _RUNNERS[key]
    with quiet(), showing(shown):
        return run_stage(stage, Store(root), runner)
