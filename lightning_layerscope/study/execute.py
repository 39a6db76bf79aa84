"""Run the stages of a study one after the other in this process; another executor has the same two arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from lightning_layerscope.study.store import Stage, Store

Report = Callable[[Stage, str], None]
"""Told of each stage and what became of it: ``"start"``, ``"done"`` or ``"kept"`` (its result was there)."""


class Runner(Protocol):
    """Does the work of one stage."""

    def __call__(self, stage: Stage, store: Store, folder: Path) -> None:
        """Write the stage's result into `folder`; results of its inputs are in ``store.folder(need)``."""


def run_stage(stage: Stage, store: Store, runner: Runner) -> bool:
    """Make one stage's result unless it is there.

    Returns:
        Whether anything was computed.

    Raises:
        RuntimeError: If a result it needs is missing.
    """
    if store.done(stage):
        return False
    missing = [need.name for need in stage.needs if not store.done(need)]
    if missing:
        raise RuntimeError(
            f"stage {stage.name!r} needs {missing[0]!r}, which has no result yet; "
            f"run that one first (layerscope study run --only {missing[0]})"
        )
    with store.produce(stage) as folder:
        if folder is None:
            return False
        runner(stage, store, folder)
    return True


def run_locally(stages: Sequence[Stage], store: Store, runner: Runner, report: Report) -> None:
    """Run stages in order, in this process."""
    for stage in stages:
        if store.done(stage):
            report(stage, "kept")
            continue
        report(stage, "start")
        report(stage, "done" if run_stage(stage, store, runner) else "kept")
