"""Run the stages of a study in this process; another executor has the same arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from lightning_layerscope.study.store import Stage, StageBusyError, Store

Report = Callable[[Stage, str], None]
"""Told of each stage and what became of it: ``"start"``, ``"done"`` or ``"kept"`` (its result was there)."""


class Runner(Protocol):
    """Does the work of one stage."""

    def __call__(self, stage: Stage, store: Store, folder: Path) -> None:
        """Write the stage's result into `folder`; results of its inputs are in ``store.folder(need)``."""


def run_stage(stage: Stage, store: Store, runner: Runner, *, wait: bool = True) -> bool:
    """Make one stage's result unless it is there.

    Args:
        stage: What to make.
        store: Where to.
        runner: Does the work.
        wait: For another runner that is at this stage.

    Returns:
        Whether anything was computed.

    Raises:
        RuntimeError: If a result it needs is missing.
        StageBusyError: If another runner is at it and `wait` is false.
    """
    if store.done(stage):
        return False
    missing = [need.name for need in stage.needs if not store.done(need)]
    if missing:
        raise RuntimeError(
            f"stage {stage.name!r} needs {missing[0]!r}, which has no result yet; "
            f"run that one first (layerscope study run --only {missing[0]})"
        )
    with store.produce(stage, wait=wait) as folder:
        if folder is None:
            return False
        runner(stage, store, folder)
    return True


def run_locally(stages: Sequence[Stage], store: Store, runner: Runner, report: Report) -> None:
    """Run stages in order, in this process; those that another runner is at are left to it while there are others."""
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
            report(stage, "done" if run_stage(stage, store, runner, wait=wait) else "kept")
            pending.remove(stage)
        except StageBusyError:
            report(stage, "busy")
            # Behind the others: by its next turn it is probably there.
            pending.remove(stage)
            pending.append(stage)


def _next(pending: Sequence[Stage], store: Store) -> tuple[Stage, bool]:
    """The first stage that can run, and whether to wait for it: only when every other one is taken as well."""
    ready: list[Stage] = []
    for stage in pending:
        if all(store.done(need) for need in stage.needs):
            if not store.busy(stage):
                return stage, False
            ready.append(stage)
    return (ready or list(pending))[0], True
