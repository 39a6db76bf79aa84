"""``layerscope advise``: which layers to train?"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_layerscope.commands.options import add_columns_option, add_command, check_device, given_tasks, positive
from lightning_layerscope.text_tables import number, table

if TYPE_CHECKING:
    from lightning_layerscope.advice.advice import Advice
    from lightning_layerscope.advice.verdict import Verdict
    from lightning_layerscope.functional.interval import Interval

_EXAMPLES = """\
  layerscope advise models/base --tasks data/instruct --budget 6
  layerscope advise models/base --tasks data/instruct --budget 6 --trial --seeds 3 --out advice
  layerscope advise models/base --tasks data/instruct --budget 6 --rules all last middle-band --export axolotl
"""
_EXPORTS = ("peft", "list", "axolotl", "schedule")


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, "advise", run, "ask the literature's rules which layers to train", _EXAMPLES)
    parser.add_argument("model", metavar="MODEL", help="folder or Hugging Face name of the base model")
    parser.add_argument("--tasks", required=True, metavar="SOURCE", help="toy, flan, a folder, a dataset; with answers")
    add_columns_option(parser)
    parser.add_argument("--budget", required=True, type=positive, metavar="K", help="how many layers to train")
    parser.add_argument("--rules", nargs="+", metavar="RULE", help="which to ask (default: all there are)")
    parser.add_argument("--modules", nargs="+", metavar="NAME", help="that get adapters (default q_proj v_proj)")
    parser.add_argument("--rank", type=positive, metavar="R", help="of the adapters on K layers (default 6)")
    parser.add_argument("--out", type=Path, default=Path("advice"), metavar="FOLDER", help="results (default advice)")
    parser.add_argument("--export", choices=_EXPORTS, help="print the advised layers for another tool")
    trial = parser.add_argument_group("trial")
    trial.add_argument("--trial", action="store_true", help="settle it by short trainings at equal parameters")
    trial.add_argument("--seeds", type=positive, default=3, metavar="N", help="trainings of each rule (default 3)")
    trial.add_argument("--retention", default="general", metavar="SOURCE", help="what must not be lost")
    trial.add_argument("--rows", type=positive, metavar="N", help="training rows per task (default 64)")
    trial.add_argument("--learning-rate", type=float, metavar="RATE", help="default 5e-4")
    trial.add_argument("--max-length", type=positive, metavar="TOKENS", help="longer rows are cut (default 96)")
    trial.add_argument("--executor", choices=["local", "ray"], default="local", help="where the trainings run")
    trial.add_argument("--workers", type=positive, default=2, metavar="N", help="on Ray, at a time (default 2)")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, mps, ...")


def run(options: argparse.Namespace) -> None:
    """Ask, try, print."""
    from lightning_layerscope.advice.rules import NAMES
    from lightning_layerscope.advice.trial_recipe import TrialRecipe
    from lightning_layerscope.study.trial.advise import advise
    from lightning_layerscope.training.quiet import quiet

    check_device(options.device)
    given = {
        "kinds": tuple(options.modules) if options.modules else None,
        "rank": options.rank,
        "train_rows": options.rows,
        "learning_rate": options.learning_rate,
        "max_length": options.max_length,
    }
    with quiet():
        advice = advise(
            options.model,
            given_tasks(options),
            options.budget,
            rules=options.rules or NAMES,
            trial=options.trial,
            seeds=options.seeds,
            retention=options.retention,
            recipe=TrialRecipe(**{key: value for key, value in given.items() if value is not None}),
            output_dir=options.out,
            executor=options.executor,
            workers=options.workers,
            device=options.device,
            report=lambda stage, what: print(f"{stage}: {what}", flush=True) if what != "kept" else None,
        )
    print(advice.layer_table())
    if scores := advice.score_table():
        print(f"\n{scores}")
    for rule, reason in advice.unavailable.items():
        print(f"note: {rule} says nothing here: {reason}")
    if advice.verdict is not None:
        print()
        print(_standings(advice.verdict))
    print(advice.describe())
    if options.export:
        print(_export(advice, options.export))


def _standings(verdict: Verdict) -> str:
    rows = [
        [s.selector, str(s.seeds), number(s.loss), _interval(s.gap), number(s.retention), _interval(s.forgotten)]
        for s in verdict.standings
    ]
    return table(["rule", "seeds", "loss", "above the best", "retention", "above base"], rows)


def _interval(gap: Interval | None) -> str:
    if gap is None:
        return ""
    return f"{number(gap.value, sign=True)} ({number(gap.low, sign=True)} to {number(gap.high, sign=True)})"


def _export(advice: Advice, kind: str) -> str:
    from lightning_layerscope.advice.exports import lora_options

    ranks = advice.ranks[advice.chosen]
    made: dict[str, Any] = {
        "peft": lambda: json.dumps(lora_options(advice.targets, ranks, scaling=advice.scaling), indent=1),
        "list": lambda: ", ".join(map(str, advice.layers)),
        "axolotl": lambda: "\n".join(["unfrozen_parameters:", *(f"  - {p}" for p in advice.unfrozen_parameters())]),
        "schedule": lambda: json.dumps(advice.finetuning_schedule(), indent=1),
    }
    return str(made[kind]())
