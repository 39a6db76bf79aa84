"""``layerscope check``: which layers' training do a tuned model's answers rest on?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_layerscope.commands.options import add_columns_option, add_command, check_device, given_tasks, positive
from lightning_layerscope.commands.stored import check_new_file
from lightning_layerscope.text_tables import number, table
from lightning_layerscope.wording import count

if TYPE_CHECKING:
    from lightning_layerscope.advice.check import LayerCheck

_EXAMPLES = """\
  layerscope check models/base models/tuned --tasks toy
  layerscope check models/base runs/lora --tasks data/instruct --rows 32 --out check.parquet
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands, "check", run, "put layers of a tuned model back to base and score its answers", _EXAMPLES
    )
    parser.add_argument("base", metavar="BASE", help="folder or Hugging Face name of the base model")
    parser.add_argument("tuned", metavar="TUNED", help="the tuned model, or the folder of a PEFT adapter")
    parser.add_argument("--tasks", required=True, metavar="SOURCE", help="toy, general, flan, a folder, a dataset")
    add_columns_option(parser)
    parser.add_argument("--rows", type=positive, default=16, metavar="N", help="held-out rows per task (default 16)")
    parser.add_argument("--split", default="test", metavar="NAME", help="split they come from (default test)")
    parser.add_argument("--seed", type=int, default=0, help="of their choice (default 0)")
    parser.add_argument("--max-length", type=positive, default=512, metavar="TOKENS", help="longer rows are cut")
    parser.add_argument("--alone", action="store_true", help="only one layer at a time, a third of the work")
    parser.add_argument("--confidence", type=float, default=0.9, help="of the intervals (default 0.9)")
    parser.add_argument("--device", help="cpu (default), cuda, mps, ...")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the rows here, as parquet")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE")


def run(options: argparse.Namespace) -> None:
    """Check, print, store."""
    from lightning_layerscope.advice.check import WAYS
    from lightning_layerscope.advice.check_models import check_layers
    from lightning_layerscope.training.quiet import quiet

    check_device(options.device)
    if options.out is not None:
        check_new_file(options.out, options.overwrite)
    with quiet():
        check = check_layers(
            options.base,
            options.tuned,
            given_tasks(options, splits=[options.split]),
            rows_per_task=options.rows,
            split=options.split,
            seed=options.seed,
            max_length=options.max_length,
            ways=["alone"] if options.alone else WAYS,
            confidence=options.confidence,
            device=options.device,
        )
    print(
        f"change of the held-out loss (nats per answer token), mean over {count(len(check.tasks), 'task')} with its "
        f"{options.confidence:.0%} interval over {count(len(check.row_tasks), 'row')}"
    )
    print(_curves(check))
    print(check.describe())
    if options.out is not None:
        from lightning_layerscope.atomic import replace_file

        with replace_file(options.out) as passing:
            check.to_frame().to_parquet(passing, index=False)
        print(f"rows: {options.out}")


def _curves(check: LayerCheck) -> str:
    titles = {"alone": "this layer back", "from_bottom": "layers up to it", "from_top": "layers from it on"}
    changes = {way: check.change(way) for way in check.restored}
    rows = []
    for position, columns in enumerate(zip(*changes.values(), strict=True)):
        drift = sum(float(task[position]) for task in check.drift.values()) / len(check.drift)
        rows.append([str(position + 1), number(drift), *map(_with_interval, columns)])
    return table(["layer", "drift", *(titles[way] for way in changes)], rows)


def _with_interval(change: Any) -> str:
    value, low, high = (number(part, sign=True) for part in (change.value, change.low, change.high))
    return f"{value} ({low} to {high})"
