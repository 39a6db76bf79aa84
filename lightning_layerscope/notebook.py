"""How results show themselves in a notebook: short HTML, where everything is escaped, and the way to charts."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from html import escape
from typing import Any

_CELL = "padding:1px 10px 1px 0;text-align:"


def card(heading: str, lines: Sequence[str], header: Sequence[str] = (), rows: Sequence[Sequence[str]] = ()) -> str:
    """A result in a notebook cell, in the notebook's own colours.

    Args:
        heading: What it is.
        lines: Of text below it.
        header: Of a small table; the first column is to the left, the others to the right.
        rows: Of that table.

    Examples:
        >>> card("A < B", ["two"])
        '<div><b>A &lt; B</b><br>two</div>'
    """
    text = "<br>".join([f"<b>{escape(heading)}</b>", *map(escape, lines)])
    if not rows:
        return f"<div>{text}</div>"
    body = [_row("th", header), *(_row("td", row) for row in rows)]
    return f'<div>{text}<table style="margin:4px 0">{"".join(body)}</table></div>'


def charts() -> Any:
    """The room of charts, loaded when a result is to be drawn: it stands above the results, and imports them."""
    return importlib.import_module("lightning_layerscope.charts")


def spread(count: int, most: int = 12) -> list[int]:
    """At most so many evenly spaced positions, the first and the last among them.

    Examples:
        >>> spread(3), spread(30, 4)
        ([0, 1, 2], [0, 10, 19, 29])
    """
    if count <= most:
        return list(range(count))
    return [round(place * (count - 1) / (most - 1)) for place in range(most)]


def _row(tag: str, cells: Sequence[str]) -> str:
    written = [
        f'<{tag} style="{_CELL}{"right" if place else "left"}">{escape(cell)}</{tag}>'
        for place, cell in enumerate(cells)
    ]
    return f"<tr>{''.join(written)}</tr>"
