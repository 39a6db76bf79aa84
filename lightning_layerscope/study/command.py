"""``layerscope study plan | run | status | report``."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable
from typing import Any

from lightning_layerscope.study.engine.store import AnyStage
from lightning_layerscope.wording import count


def add_parser(subparsers: Any) -> None:
    """Add the command to ``argparse`` subparsers; the chosen function is in ``options.run``."""
    parser = subparsers.add_parser(
        "study",
        help="train a multi-task model and single-task controls, compare their layers, report",
        description="The whole paper from one plan in YAML. Finished stages are kept: a run that was broken off goes "
        "on where it was.",
    )
    commands = parser.add_subparsers(dest="study_command", required=True)
    for name, run, words in (
        ("plan", _plan, "what will run and what it will cost; starts nothing"),
        ("run", _run, "run what is not there yet"),
        ("status", _status, "what is done"),
        ("report", _report, "write the results' folder and say where the report is"),
    ):
        command = commands.add_parser(name, help=words, description=words)
        command.add_argument("plan", help="the plan, a YAML file")
        command.set_defaults(run=run)
        if name == "run":
            command.add_argument(
                "--only",
                nargs="+",
                default=[],
                metavar="STAGE",
                help="these stages and what they need, e.g. control:sst2 or states",
            )
            command.add_argument("--yes", action="store_true", help="do not ask before the first training")


def _plan(options: argparse.Namespace) -> None:
    _show(_open(options.plan))


def _run(options: argparse.Namespace) -> None:
    study = _open(options.plan)
    stages = study.stages(options.only)
    trainings = sum(stage.trains and not study.store.done(stage) for stage in stages)
    if trainings and not options.yes:
        _show(study)
        if not sys.stdin.isatty():
            raise ValueError(f"{trainings} trainings would start, and nobody can be asked; add --yes")
        if input(f"Start {trainings} trainings? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing was started")
            return
    from lightning_layerscope.training.progress import showing
    from lightning_layerscope.training.quiet import quiet

    if trainings:
        # Lightning sets its logging up when it is imported; that must lie before the silence.
        importlib.import_module("pytorch_lightning")
    with quiet(), showing():
        results = study.run(options.only, _progress(len(stages)))
    if results is not None:
        print(f"report: {results / 'report.html'}")


def _status(options: argparse.Namespace) -> None:
    study = _open(options.plan)
    for kind, (done, wanted) in study.status().items():
        print(f"{kind:<10} {done:>5} of {wanted}")
    print(f"folder     {study.store.root}")


def _report(options: argparse.Namespace) -> None:
    study = _open(options.plan)
    folder = study.publish()
    study.log()
    print((folder / "table.md").read_text(encoding="utf-8"))
    print(f"report: {folder / 'report.html'}")


def _open(path: str) -> Any:
    from lightning_layerscope.study.study import Study

    study = Study.from_yaml(path)
    if note := study.note_on_earlier_stages():
        print(f"note: {note}", file=sys.stderr)
    return study


def _show(study: Any) -> None:
    from lightning_layerscope.training.quiet import quiet

    with quiet():
        study.check()
        print(_overview(study))
        print(study.estimate().describe())


def _overview(study: Any) -> str:
    graph, tasks = study.graph, study.context.tasks
    clusters = len(set(tasks.clusters.values()))
    lines = [f"study           {study.plan.name}", f"tasks           {len(tasks)} in {count(clusters, 'cluster')}"]
    if study.plan.trains:
        lines.append(f"multi-task      trained on {count(len(graph.trained), 'task')}, {len(graph.held_out)} held out")
    if study.plan.controls is not None:
        lines.append(f"controls        of an earlier study, {study.plan.controls}")
    counts = []
    for name, task in tasks.items():
        available = len(task.splits.get(study.plan.tasks.test_split, ()))
        wanted = study.plan.probes.examples_per_task
        counts.append((name, available if wanted == "all" else min(wanted, available), available))
    few = [f"{name} {used}" for name, used, _ in counts if study.plan.probes.examples_per_task not in ("all", used)]
    lines.append(f"probes          {count(sum(used for _, used, _ in counts), 'prompt')}")
    if few:
        lines.append(f"                all they have: {', '.join(few)}")
    lines.append(f"executor        {study.plan.executor}")
    lines.append(f"folder          {study.store.root}")
    return "\n".join(lines)


def _progress(total: int) -> Callable[[AnyStage, str], None]:
    """Prints a line per stage, with the time it took."""
    begun: dict[str, float] = {}
    kept = 0
    finished = 0

    def report(stage: AnyStage, what: str) -> None:
        nonlocal kept, finished
        if what == "start":
            begun[stage.name] = time.monotonic()
            return
        if what == "busy":
            print(f"[{finished:>4}/{total}] {stage.name}: another runner is at it", flush=True)
            return
        finished += 1
        if what == "kept":
            kept += 1
            return
        if kept:
            print(f"[{finished - 1:>4}/{total}] {count(kept, 'stage')} kept", flush=True)
            kept = 0
        seconds = time.monotonic() - begun.get(stage.name, time.monotonic())
        print(f"[{finished:>4}/{total}] {stage.name} {seconds:.1f} s", flush=True)

    return report
