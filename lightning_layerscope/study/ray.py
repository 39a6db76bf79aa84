"""Run the stages of a study as Ray tasks, on a Ray of this machine or on a cluster that shares the study's folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning_layerscope._extras import require
from lightning_layerscope.study.execute import Report, Runner, run_stage
from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.store import Stage, Store

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
        log_to_driver=False,
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
    refs: dict[str, Any] = {}
    open_refs: dict[Any, Stage] = {}
    plan_ref, runner_ref = ray.put(plan), ray.put(runner)
    for stage in stages:
        if store.done(stage):
            report(stage, "kept")
            continue
        report(stage, "start")
        waits_for = [refs[need.name] for need in stage.needs if need.name in refs]
        # Ray starts a task when the results it is given are there: that is the order of stages.
        ref = remote.options(name=stage.name, **options).remote(
            stage, str(store.root), plan_ref, runner_ref, *waits_for
        )
        refs[stage.name] = ref
        open_refs[ref] = stage
    while open_refs:
        ready, _ = ray.wait(list(open_refs), num_returns=1)
        for ref in ready:
            computed = ray.get(ref)
            report(open_refs.pop(ref), "done" if computed else "kept")


def _work(stage: Stage, root: str, plan: StudyPlan, runner: Runner | None, *_: Any) -> bool:
    """One stage, in a worker."""
    if runner is None:
        key = plan.model_dump_json()
        if key not in _RUNNERS:
            from lightning_layerscope.study.runner import StudyRunner

            _RUNNERS.clear()
            _RUNNERS[key] = StudyRunner(plan)
        runner = _RUNNERS[key]
    return run_stage(stage, Store(root), runner)
