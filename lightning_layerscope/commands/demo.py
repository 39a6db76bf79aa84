"""``layerscope demo``: the whole product in a minute or two."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lightning_layerscope.commands.options import add_command, add_task_options, positive

_EXAMPLES = """\
  layerscope demo
  layerscope demo --tasks data/instruct --steps 500
  layerscope demo --model Qwen/Qwen2.5-0.5B --lora --steps 100
  WANDB_MODE=online layerscope demo                   log to your W&B account
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    help_line = "fine-tune a small model on tasks with the monitor attached, and read the result"
    parser = add_command(commands, "demo", run, help_line, _EXAMPLES)
    parser.add_argument("--tasks", default="toy", metavar="SOURCE", help="toy (default), a folder of tasks, a dataset")
    parser.add_argument("--model", metavar="NAME", help="tune this model (folder or Hugging Face name), not a new one")
    parser.add_argument("--steps", type=positive, default=300, help="of fine-tuning (default 300)")
    parser.add_argument("--pretrain-steps", type=positive, default=200, help="of the new model (default 200)")
    parser.add_argument("--out", type=Path, default=Path("layerscope-demo"), help="folder (default ./layerscope-demo)")
    parser.add_argument("--examples-per-task", type=positive, default=32, help="prompts measured on (default 32)")
    parser.add_argument("--lora", action="store_true", help="train LoRA adapters, not all weights")
    add_task_options(parser)
    parser.add_argument("--seed", type=int, default=0, help="of everything (default 0)")


def run(options: argparse.Namespace) -> None:
    """Run and read."""
    from lightning_layerscope.demo import DemoOptions, read_demo, run_demo

    given = {name: value for name, value in vars(options).items() if name not in ("run", "command", "own_parser")}
    given["columns"] = dict(options.columns or ())
    result = run_demo(DemoOptions(**given))
    print()
    print(read_demo(result))
