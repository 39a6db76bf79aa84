"""What the commands for W&B declare alike."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_layerscope.sinks.board.panels import Board


def entity_and_project(text: str) -> tuple[str, str]:
    """``my-team/tuning``."""
    entity, slash, project = text.partition("/")
    if not (entity and slash and project) or "/" in project:
        raise argparse.ArgumentTypeError(f"expected ENTITY/PROJECT, e.g. my-team/tuning, got {text!r}")
    return entity, project


def add_board_options(parser: argparse.ArgumentParser) -> None:
    """Which keys are shown, and whether anything is saved."""
    parser.add_argument("--measure", default="cka", help="the headline measure of the runs (default: cka)")
    parser.add_argument(
        "--monitor", default="layerscope", metavar="NAME", help="the monitor's name, where it has one of its own"
    )
    parser.add_argument(
        "--presets",
        metavar="ENTITY",
        help="use the presets that were uploaded for this entity: curves with their bands, heatmaps",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the JSON, and touch no network")


def board_of(options: argparse.Namespace) -> Board:
    """The panels that the options name."""
    from lightning_layerscope.sinks.board.panels import Board
    from lightning_layerscope.sinks.keys import root_of

    return Board(root_of(options.monitor), options.measure, options.presets)
