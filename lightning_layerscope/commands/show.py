"""``layerscope show``: a run or a profile in the terminal."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lightning_layerscope.commands.options import add_command
from lightning_layerscope.commands.stored import load_profile, load_record

_EXAMPLES = """\
  layerscope show runs/one/layerscope
  layerscope show profile.parquet --measure mutual_knn
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, "show", run, "draw a heatmap and the curve over layers in the terminal", _EXAMPLES)
    parser.add_argument("source", type=Path, metavar="FOLDER", help="results of a run, or a profile (.parquet)")
    parser.add_argument("--measure", help="default: the headline")
    parser.add_argument("--step", type=int, help="default: the last")


def run(options: argparse.Namespace) -> None:
    """Load and draw."""
    from lightning_layerscope import charts

    source: Path = options.source
    if not source.is_dir():
        charts.show(load_profile(source), step=options.step, measure=options.measure)
        return
    record = load_record(source)
    step = options.step if options.step is not None or not record.steps else record.steps[-1]
    if step not in record.steps:
        raise KeyError(f"step {step} was not measured; measured were {record.steps}")
    measured = record.measurements[record.steps.index(step)]
    headline = options.measure in (None, measured.profile.measure)
    charts.show(measured.profile, measure=options.measure, transition=measured.transition if headline else None)
