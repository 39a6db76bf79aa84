"""What all charts share: their named data sets, their title, their look."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import altair as alt

from lightning_layerscope.charts import theme
from lightning_layerscope.charts.rows import Row

Chart = TypeVar("Chart", alt.LayerChart, alt.VConcatChart, alt.FacetChart)


@dataclass(frozen=True)
class Words:
    """What a chart says of itself.

    Attributes:
        title: over it; a page that has a heading of its own leaves it out.
        subtitle: lines below the title.
        value: what the colour or the height is, with its unit.
    """

    title: str = ""
    subtitle: Sequence[str] = field(default_factory=tuple)
    value: str = "value"


def finished(chart: Chart, datasets: Mapping[str, Sequence[Row]], lines: Sequence[str]) -> Chart:
    """The chart with its data, its title (the first line) and the house's light look.

    Args:
        chart: not to be layered or joined any more afterwards.
        datasets: by name.
        lines: title, and lines below it; a chart without title has none.
    """
    title, *below = lines
    if title:
        subtitle = [line for part in below for line in text_lines(part, 110)]
        chart = chart.properties(title=alt.TitleParams(text=title, **({"subtitle": subtitle} if subtitle else {})))
        chart.description = ". ".join(lines)  # read to people who do not see it
    # Not through properties(), which copies and validates every row: most of the time that a chart takes.
    chart.datasets = {name: list(rows) for name, rows in datasets.items() if rows}
    chart.config = theme.config()
    return chart


def text_lines(text: str, width: int) -> list[str]:
    """The text in lines of at most so many letters."""
    return textwrap.wrap(text, width, break_on_hyphens=False)
