"""A curve over layers as a table."""

from __future__ import annotations

from typing import Any

from lightning_layerscope.text_tables import number, table


def curve_table(
    curve: Any, clusters: dict[str, Any] | None = None, *, sign: bool = False, by_depth: bool = False
) -> str:
    """A mean curve over layers, or relative depths, with its interval; one column per cluster where they fit."""
    clusters = clusters or {}
    header = ["depth" if by_depth else "layer", "mean", "low", "high", *(name[:14] for name in clusters)]
    rows = []
    for position, row in enumerate(curve.itertuples()):
        values = [row.value, row.low, row.high, *(part[position] for part in clusters.values())]
        first = f"{row.depth:.2f}" if by_depth else str(int(row.layer))
        rows.append([first, *(number(float(value), sign=sign) for value in values)])
    return table(header, rows)
