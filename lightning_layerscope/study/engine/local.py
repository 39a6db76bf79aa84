"""Run stages in this process; the other executor has the same arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lightning_layerscope.study.engine.stage import Context
from lightning_layerscope.study.engine.store import AnyStage, StageBusyError, Store

Report = Callable[[AnyStage, str], None]
"""Told of each stage and what became of it: ``"start"``, ``"busy"``, ``"done"``, or ``"kept"`` where it was there."""


def run_stage(stage: AnyStage, context: Context, *, wait: bool = True) -> bool:
    """Make one stage's result unless it is there.

    Args:
        stage: What to make.
        context: The context of the pipeline; its store gets the result.
        wait: For another runner that is at this stage.

    Returns:
        Whether anything was computed.

    Raises:
        RuntimeError: If a result it needs is missing.
        StageBusyError: If another runner is at it and ``wait`` is false.
    """
    store = context.store
    if store.done(stage):
        return False
    missing = [each.name for each in stage.inputs if not store.done(each)]
    if missing:
        raise RuntimeError(
            f"stage {stage.name!r} needs {missing[0]!r}, which has no result yet; "
            f"run that one first (layerscope study run --only {missing[0]})"
        )
    with store.produce(stage, wait=wait) as folder:
        if folder is None:
            return False
        with context.at_work(stage):
            stage.run(context, folder)
    return True


def run_locally(stages: Sequence[AnyStage], context: Context, report: Report) -> None:
    """Run stages in order, in this process; those that another runner is at are left to it while there are others."""
    store = context.store
    pending = []
    for stage in stages:
        if store.done(stage):
            report(stage, "kept")
        else:
            pending.append(stage)
    while pending:
        stage, wait = _next(pending, store)
        try:
            if not store.done(stage):
                report(stage, "start")
            report(stage, "done" if run_stage(stage, context, wait=wait) else "kept")
            pending.remove(stage)
        except StageBusyError:
            report(stage, "busy")
            # Behind the others: by its next turn it is probably there.
            pending.remove(stage)
            pending.append(stage)


def _next(pending: Sequence[AnyStage], store: Store) -> tuple[AnyStage, bool]:
    """The first stage that can run, and whether to wait for it: only when every other one is taken as well."""
    ready: list[AnyStage] = []
    for stage in pending:
        if all(store.done(each) for each in stage.inputs):
            if not store.busy(stage):
                return stage, False
            ready.append(stage)
    return (ready or list(pending))[0], True
