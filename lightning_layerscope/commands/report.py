"""``layerscope report``: the HTML page of a run or a profile."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_layerscope.commands.options import add_command
from lightning_layerscope.commands.stored import check_new_file, load_profile

if TYPE_CHECKING:
    from lightning_layerscope.measurements import RunRecord

_EXAMPLES = """\
  layerscope report runs/one/layerscope
  layerscope report profile.parquet --out profile.html --title "Full fine-tuning"
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, "report", run, "write one self-contained HTML page of a run or a profile", _EXAMPLES)
    parser.add_argument("source", type=Path, metavar="FOLDER", help="results of a run, or a profile (.parquet)")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="default: report.html in FOLDER, or beside the profile"
    )
    parser.add_argument("--title", default="", help="over the page")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE; a run's own report.html always is")


def run(options: argparse.Namespace) -> None:
    """Load and render."""
    from lightning_layerscope.sinks.report import write_report

    source: Path = options.source
    if source.is_dir() and (source / "results" / "config.json").is_file():
        source = source / "results"
    page = source / "report.html" if source.is_dir() else source.with_suffix(".html")
    if options.out is not None or not source.is_dir():
        page = options.out or page
        check_new_file(page, options.overwrite)
    print(f"report: {write_report(_record(source), page, title=options.title)}")


def _record(source: Path) -> RunRecord:
    from lightning_layerscope.measurements import Measurement, RunRecord
    from lightning_layerscope.transitions import find_transitions

    if source.is_dir():
        return RunRecord.load(source)
    profile = load_profile(source)
    steps = [profile.at_step(step) for step in profile.steps]
    return RunRecord(
        {key: getattr(profile.meta, key) for key in ("measure", "estimator", "reference", "num_layers")},
        [Measurement(step=part.steps[0], profile=part, transition=find_transitions(part)) for part in steps],
    )
