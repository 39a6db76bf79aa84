"""``layerscope wandb-report``: a report in W&B on chosen runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_layerscope.commands.options import add_command
from lightning_layerscope.commands.stored import load_profile
from lightning_layerscope.commands.wandb_options import add_board_options, board_of, entity_and_project

if TYPE_CHECKING:
    from lightning_layerscope.profiles import LayerProfile

_EXAMPLES = """\
  layerscope wandb-report my-team/tuning 1mbku38n 2u1g3j1c
  layerscope wandb-report my-team/tuning 1mbku38n=runs/one/layerscope 2u1g3j1c=runs/two/layerscope --dry-run
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, "wandb-report", run, "save a report of W&B on chosen runs", _EXAMPLES)
    parser.add_argument("project", type=entity_and_project, metavar="ENTITY/PROJECT", help="of W&B")
    parser.add_argument(
        "runs",
        nargs="+",
        type=run_and_folder,
        metavar="RUN[=FOLDER]",
        help="ids of runs, the first is what the others are compared with; with a folder their results are read there, "
        "otherwise from the artifact that the run has logged",
    )
    parser.add_argument("--title", default="", help="of the report")
    parser.add_argument("--draft", action="store_true", help="save it as a draft")
    add_board_options(parser)


def run(options: argparse.Namespace) -> None:
    """Read the runs, write the text, and print or save."""
    from lightning_layerscope.sinks.board.report import make_report, report_json
    from lightning_layerscope.sinks.board.runs import LoggedRun, read_run

    entity, project = options.project
    board = board_of(options)
    idents = [ident for ident, _ in options.runs]
    if twice := sorted({ident for ident in idents if idents.count(ident) > 1}):
        raise ValueError(f"expected each run once, got {', '.join(twice)} more than once; name another run's id")
    runs = []
    for ident, folder in options.runs:
        profile = None if folder is None else load_profile(folder)
        if profile is not None and board.measure not in profile.measures:
            there = ", ".join(profile.measures)
            raise ValueError(
                f"expected a measure of {folder} ({there}), got {board.measure!r}; name one with --measure"
            )
        if options.dry_run:
            runs.append(LoggedRun(ident, config=_logged_config(folder, profile), profile=profile))
        else:
            runs.append(read_run(entity, project, ident, root=board.root, profile=profile))
    report = make_report(entity, project, board, runs, title=options.title)
    if options.dry_run:
        print(report_json(report))
        return
    from lightning_layerscope.sinks.board.saving import saved

    saved(lambda: report.save(draft=options.draft))
    print(f"report: {report.url}")


def _logged_config(folder: Path | None, profile: LayerProfile | None) -> dict[str, Any]:
    """What the monitor has logged of its settings, from its folder; of a profile alone what that knows."""
    from lightning_layerscope.measurements.storage import read_config
    from lightning_layerscope.sinks.wandb_files import config

    if folder is None or profile is None:
        return {}
    content = read_config(folder) if folder.is_dir() else None
    return config({} if content is None else content["config"], profile.meta)


def run_and_folder(text: str) -> tuple[str, Path | None]:
    """``1mbku38n``, or ``1mbku38n=runs/one``."""
    ident, equals, folder = text.partition("=")
    if not ident or "/" in ident or (equals and not folder):
        raise argparse.ArgumentTypeError(f"expected the id of a run, or ID=FOLDER, got {text!r}")
    return ident, Path(folder) if equals else None
