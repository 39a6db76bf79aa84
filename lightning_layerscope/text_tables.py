"""Tables of text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence


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
