"""The command line, ``layerscope``: one module per command."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from lightning_layerscope import __version__
from lightning_layerscope.commands.terms import in_flags

_COMMANDS = (
    "demo",
    "extract",
    "compare",
    "diff",
    "transitions",
    "show",
    "advise",
    "check",
    "report",
    "recipe",
    "workspace",
    "wandb_report",
)
_DEBUG = "LAYERSCOPE_DEBUG"

_EPILOG = """\
examples:
  layerscope demo                                     fine-tune a small model with the monitor attached
  layerscope extract models/base --tasks toy --out base.bank --reference
  layerscope extract models/tuned --tasks toy --out tuned.states
  layerscope compare tuned.states base.bank --out profile.parquet
  layerscope transitions profile.parquet

Every command explains itself: layerscope COMMAND --help
"""


class _Parser(argparse.ArgumentParser):
    """Errors are one line; usage is what --help is for."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser with all commands; none of them imports what it needs before it runs."""
    parser = _Parser(
        prog="layerscope",
        description="See where multi-task learning happens inside a language model.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"lightning-layerscope {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")
    for name in _COMMANDS:
        importlib.import_module(f"lightning_layerscope.commands.{name}").add_parser(commands)
    importlib.import_module("lightning_layerscope.study.command").add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The arguments of the command line; default ``sys.argv``.

    Returns:
        0 on success; 2 after a mistake of the user's, which is told in one line; 130 when interrupted. With the
        environment variable ``LAYERSCOPE_DEBUG=1`` the traceback is shown.
    """
    try:
        options = build_parser().parse_args(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    try:
        options.run(options)
    except BrokenPipeError:
        # Whoever read our output (head, less) has seen enough; Python would complain once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ImportError, KeyError, OSError, ValueError) as error:
        # An import error without advice is a fault of this package.
        if os.environ.get(_DEBUG) or (isinstance(error, ImportError) and "pip install" not in str(error)):
            raise
        # KeyError puts its message into quotes.
        message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        if "own_parser" in options:
            message = in_flags(message, options.own_parser)
        print(f"layerscope {options.command}: error: {' '.join(message.split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0
