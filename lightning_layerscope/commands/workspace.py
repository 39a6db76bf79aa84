"""``layerscope workspace``: a saved view of a W&B project, by code."""

from __future__ import annotations

import argparse
from typing import Any

from lightning_layerscope.commands.options import add_command
from lightning_layerscope.commands.wandb_options import add_board_options, board_of, entity_and_project

_EXAMPLES = """\
  layerscope workspace my-team/tuning
  layerscope workspace my-team/tuning --baseline 1mbku38n --pin 2u1g3j1c
  layerscope workspace my-team/tuning --presets my-team --upload-presets
  layerscope workspace my-team/tuning --dry-run
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, "workspace", run, "save a workspace of W&B for the runs of a project", _EXAMPLES)
    parser.add_argument("project", type=entity_and_project, metavar="ENTITY/PROJECT", help="of W&B")
    parser.add_argument("--name", default="Layers", help="of the view (default: Layers)")
    parser.add_argument("--baseline", metavar="RUN", help="id of the run that the others are compared with")
    parser.add_argument("--pin", nargs="+", default=[], metavar="RUN", help="ids of runs that stay in sight")
    add_board_options(parser)
    parser.add_argument(
        "--upload-presets", action="store_true", help="upload the two presets to --presets first, or anew"
    )


def run(options: argparse.Namespace) -> None:
    """Build, and print or save."""
    from lightning_layerscope.sinks.board.workspace import make_workspace, workspace_json

    if options.upload_presets and options.presets is None:
        raise ValueError("--upload-presets needs --presets ENTITY, the user or team that the presets are for")
    entity, project = options.project
    workspace = make_workspace(
        entity, project, board_of(options), name=options.name, baseline=options.baseline, pinned=options.pin
    )
    if options.dry_run:
        print(workspace_json(workspace))
        return
    from lightning_layerscope.sinks.board.presets import upload
    from lightning_layerscope.sinks.board.saving import saved

    if options.upload_presets:
        print("presets:", *saved(lambda: upload(options.presets)))
    saved(workspace.save)
    print(f"workspace: {workspace.url}")
