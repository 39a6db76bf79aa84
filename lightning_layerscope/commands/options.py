"""What several commands declare alike: their help, and options that are checked while the line is read."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_layerscope.tasks import TaskCollection


def add_command(commands: Any, name: str, run: Any, help_line: str, examples: str) -> argparse.ArgumentParser:
    """A subcommand with its examples below the help."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_line,
        description=f"{help_line[0].upper()}{help_line[1:]}.",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, own_parser=parser)
    return parser


def add_columns_option(group: Any) -> None:
    """How rows of tasks are read."""
    group.add_argument(
        "--columns",
        nargs="+",
        type=field_and_column,
        metavar="FIELD=COLUMN",
        help="columns that are named otherwise: input=question output=answer; fields are instruction, input, output, "
        "split, id, task, messages, prompt and completion",
    )


def given_tasks(options: argparse.Namespace, splits: Iterable[str] | None = None) -> TaskCollection:
    """The tasks that ``--tasks`` and ``--columns`` name."""
    from lightning_layerscope.tasks import load_tasks

    return load_tasks(options.tasks, columns=dict(options.columns or ()) or None, splits=splits)


def add_task_options(group: Any) -> None:
    """How rows of tasks are read and become prompts."""
    add_columns_option(group)
    group.add_argument(
        "--chat",
        action=argparse.BooleanOptionalAction,
        help="render with the tokenizer's chat template, or never; by default conversations are where there is one",
    )


def positive(text: str) -> int:
    """An argument that counts something."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, got {text!r}")
    return int(text)


def field_and_column(text: str) -> tuple[str, str]:
    """``input=question``: a field, and the column that holds it."""
    field, equals, column = text.partition("=")
    if not (field and equals and column):
        raise argparse.ArgumentTypeError(f"expected FIELD=COLUMN, e.g. input=question, got {text!r}")
    return field, column


def check_device(name: str | None) -> None:
    """Refuse a device that is none, or is not there.

    Raises:
        ValueError: The message says what was expected.
    """
    if name is None:
        return
    import torch

    expected = "expected cpu, cuda, cuda:1, mps or another device of torch that this machine has"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"--device {name} is no device; {expected}") from error
    try:
        torch.empty(1, device=device)
    except (AssertionError, ImportError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"--device {name} cannot be used here ({reason}); {expected}") from error
