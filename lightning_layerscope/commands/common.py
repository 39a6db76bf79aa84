"""What several commands share: options, files of either kind, tables."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_layerscope.extraction import HiddenStates
    from lightning_layerscope.profiles import LayerProfile
    from lightning_layerscope.references import ReferenceBank


def add_command(commands: Any, name: str, run: Any, help_line: str, examples: str) -> argparse.ArgumentParser:
    """A subcommand with its examples below the help."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_line,
        description=f"{help_line[0].upper()}{help_line[1:]}.",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def positive(text: str) -> int:
    """An argument that counts something."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, got {text!r}")
    return int(text)


def load_states(path: Path) -> HiddenStates | ReferenceBank:
    """Hidden states or a reference bank, whichever the folder holds.

    Raises:
        FileNotFoundError: when it holds neither.
        ValueError: when a file is damaged.
    """
    from lightning_layerscope.extraction import HiddenStates
    from lightning_layerscope.references import ReferenceBank

    if (path / "states.safetensors").is_file():
        return HiddenStates.load(path)
    # The folder of a run keeps its reference inside.
    for place in (path, path / "reference"):
        if (place / "bank.safetensors").is_file():
            return ReferenceBank.load(place)
    raise FileNotFoundError(
        f"{path} holds neither hidden states nor a reference; make one with: layerscope extract MODEL --tasks SOURCE "
        f"--out {path}"
    )


def load_profile(path: Path) -> LayerProfile:
    """A profile from its file, or from the folder of a run.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when the file is something else.
    """
    from lightning_layerscope.profiles import LayerProfile

    for place in (path, path / "profile.parquet", path / "results" / "profile.parquet"):
        if place.is_file() or (place.suffix == ".parquet" and place.is_dir()):
            return LayerProfile.from_parquet(place)
    raise FileNotFoundError(
        f"there is no profile at {path}; expected a .parquet file from layerscope compare, or the results of a run"
    )


def fail_if_taken(path: Path, overwrite: bool) -> None:
    """Refuse to write over a file.

    Raises:
        FileExistsError: when it is there and may not be replaced.
    """
    if path.is_dir():
        raise FileExistsError(f"{path} is a folder; name a file")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is there already; choose another name, or pass --overwrite")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text: the first to the left, the others to the right.

    Example:
        >>> print(table(["layer", "mean"], [["1", "0.9"], ["10", "0.85"]]))
        layer  mean
        1       0.9
        10     0.85
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in (header, *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def number(value: float, digits: int = 3, sign: bool = False) -> str:
    """A value for a table; a dash where it is undefined.

    Example:
        >>> number(0.12345), number(float("nan")), number(0.5, 2, sign=True)
        ('0.123', '-', '+0.50')
    """
    return "-" if value != value else f"{value:{'+' if sign else ''}.{digits}f}"


def curve_table(curve: Any, clusters: dict[str, Any] | None = None, *, sign: bool = False) -> str:
    """A mean curve over layers with its interval, and one column per cluster where they fit the line."""
    clusters = clusters or {}
    by_depth = "depth" in curve and (curve["layer"] < 0).any()
    header = ["depth" if by_depth else "layer", "mean", "low", "high", *(name[:14] for name in clusters)]
    rows = []
    for place, row in enumerate(curve.itertuples()):
        values = [row.value, row.low, row.high, *(part[place] for part in clusters.values())]
        first = f"{row.depth:.2f}" if by_depth else str(int(row.layer))
        rows.append([first, *(number(float(value), sign=sign) for value in values)])
    return table(header, rows)
