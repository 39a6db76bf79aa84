"""``layerscope diff``: two profiles."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lightning_layerscope.commands.curves import curve_table
from lightning_layerscope.commands.options import add_command
from lightning_layerscope.commands.stored import check_new_file, load_profile
from lightning_layerscope.wording import count

_EXAMPLES = """\
  layerscope diff full.parquet lora.parquet
  layerscope diff runs/one/layerscope runs/two/layerscope --out difference.parquet
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, "diff", run, "subtract the first profile from the second, layer by layer", _EXAMPLES)
    parser.add_argument("first", type=Path, metavar="A", help="profile, or folder of a run")
    parser.add_argument("second", type=Path, metavar="B", help="profile, or folder of a run")
    parser.add_argument("--measure", help="default: the headline of both")
    parser.add_argument("--step", type=int, help="of A (default: its last)")
    parser.add_argument("--other-step", type=int, help="of B (default: its last)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the rows here, as parquet")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE")


def run(options: argparse.Namespace) -> None:
    """Subtract, print, store."""
    if options.out is not None:
        check_new_file(options.out, options.overwrite)
    first, second = load_profile(options.first), load_profile(options.second)
    difference = first.diff(second, measure=options.measure, step=options.step, other_step=options.other_step)
    print(f"{difference.measure}: {options.second} minus {options.first}, mean over {count(len(first.tasks), 'task')}")
    if difference.by_depth:
        print("over relative depth (layer / number of layers), the one with more layers interpolated at the other's")
    print(curve_table(difference.mean_curve(), sign=True, by_depth=difference.by_depth))
    print(difference.describe())
    if options.out is not None:
        from lightning_layerscope.atomic import replace_file

        with replace_file(options.out) as passing:
            difference.frame.to_parquet(passing, index=False)
        print(f"rows: {options.out}")
