"""``layerscope recipe``: a LightningCLI configuration that attaches the monitor."""

from __future__ import annotations

import argparse
from typing import Any

from lightning_layerscope.commands.options import add_command
from lightning_layerscope.recipes import read_recipe, recipe_names

_EXAMPLES = """\
  layerscope recipe                                   list the recipes
  layerscope recipe monitor > monitor.yaml
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    help_line = "print a LightningCLI recipe that attaches the monitor to a run"
    parser = add_command(commands, "recipe", run, help_line, _EXAMPLES)
    parser.add_argument("name", nargs="?", metavar="NAME", help=f"{', '.join(recipe_names())}; without one, a list")


def run(options: argparse.Namespace) -> None:
    """Print it."""
    if options.name is not None:
        print(read_recipe(options.name), end="")
        return
    for name in recipe_names():
        about = read_recipe(name).splitlines()[0].removeprefix("# ")
        print(f"{name:<18}{about}")
