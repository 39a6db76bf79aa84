"""What all charts share: their named data sets, their title, their look."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from lightning_layerscope.charts import theme
from lightning_layerscope.charts.rows import Row

LINE = 140
"""Letters of a line below a title."""


@dataclass(frozen=True)
class Words:
    """What a chart says of itself.

    Attributes:
        title: over it; a page that has a heading of its own leaves it out.
        subtitle: the line below: what was measured with what.
        notes: on the line below that, which stays free without any: trackers lay pictures of several steps over each
            other.
        value: what the colour or the height is, with its unit.
    """

    title: str = ""
    subtitle: str = ""
    notes: Sequence[str] = ()
    value: str = "value"


def finished(chart: Any, datasets: Mapping[str, Sequence[Row]], words: Words) -> Any:
    """The chart with its data, its title and the house's light look.

    Args:
        chart: not to be layered or joined any more afterwards.
        datasets: by name.
        words: a chart without title has no subtitle and no notes.
    """
    if words.title:
        notes = " · ".join(words.notes)
        below = [*text_lines(words.subtitle, LINE), *(text_lines(notes, LINE) or [" "])]
        chart = chart.properties(title=alt.TitleParams(text=words.title, subtitle=below))
        read_out = [part for part in (words.title, words.subtitle, notes) if part]
        chart.description = ". ".join(read_out)  # to people who do not see it
    # Not through properties(), which copies and validates every row: most of the time that a chart takes.
    chart.datasets = {name: list(rows) for name, rows in datasets.items() if rows}
    chart.config = theme.config()
    return chart


def text_lines(text: str, width: int) -> list[str]:
    """The text in lines of at most so many letters."""
    return textwrap.wrap(text, width, break_on_hyphens=False)
