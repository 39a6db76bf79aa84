"""One look for all charts: colours, letters, and figures laid out in inches.

Figures are made with matplotlib's object interface and with their own settings, so that neither pyplot's state nor a
user's matplotlibrc is touched or followed. Positions are computed from the width of the words instead of by a layout
engine: that is several times faster, and a measurement draws five pictures or more.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from lightning_layerscope.compat.known_warnings import without_missing_glyphs

P = ParamSpec("P")
R = TypeVar("R")

INK, MUTED, FAINT, PAPER = "#1f2a37", "#5f6b78", "#d3d9e0", "#fefefe"
UNDEFINED, UNDEFINED_LINES = "#e4e7eb", "#a9b2bc"
BAND = "#f0a202"

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b8568c", "#3fa7e0", "#d99000", "#7a4b1e", "#6d7680")
"""Eight colours after Okabe and Ito, told apart with any colour vision; more clusters get other line styles."""

LINES: tuple[Any, ...] = ("solid", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.4, 1.2, 1.4)))
MARKERS = ("", "o", "s", "^", "D", "v")

DPI = 110

SETTINGS: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.usetex": False,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": PAPER,
    "axes.labelcolor": INK,
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.7,
    "axes.grid": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "axes.xmargin": 0.0,
    "figure.facecolor": PAPER,
    "figure.constrained_layout.use": False,
    "figure.autolayout": False,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.7,
    "hatch.color": UNDEFINED_LINES,
    "image.interpolation": "none",
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "savefig.bbox": None,
    "savefig.facecolor": "auto",
    "savefig.transparent": False,
    "svg.fonttype": "none",
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 7.5,
    "xtick.major.size": 2.5,
    "xtick.direction": "out",
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 7.5,
    "ytick.major.size": 2.5,
    "ytick.direction": "out",
}


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Run a drawing function under this module's settings and put the user's back afterwards."""

    @wraps(draw)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        with matplotlib.rc_context(SETTINGS):
            return draw(*args, **kwargs)

    return inner


def canvas(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, known to no global state."""
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def place(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at this position, in inches from the lower left corner."""
    whole, tall = figure.get_size_inches()
    return figure.add_axes((left / whole, bottom / tall, width / whole, height / tall))


def write(figure: Figure, x: float, y: float, text: str, **how: Any) -> None:
    """Plain text at inches from the lower left corner; never read as a formula."""
    whole, tall = figure.get_size_inches()
    figure.text(x / whole, y / tall, text, parse_math=False, **how)


def headline(figure: Figure, left: float, head: str, sub: str) -> None:
    """A bold title and a muted second line in the upper left corner."""
    tall = float(figure.get_size_inches()[1])
    write(figure, left, tall - 0.12, head, fontsize=11, fontweight="bold", va="top")
    write(figure, left, tall - 0.36, sub, fontsize=8, color=MUTED, va="top")


def text_width(texts: Iterable[str], size: float, *, bold: bool = False) -> float:
    """Width of the widest text, in inches."""
    return max((_width(text, size, bold) for text in texts), default=0.0)


@lru_cache(maxsize=4096)
def _width(text: str, size: float, bold: bool) -> float:
    font = FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")
    # Letters that the font lacks are drawn by the page's own: those of East Asia are as wide as they are high.
    wide = [letter for letter in text if unicodedata.east_asian_width(letter) in "WF"]
    with without_missing_glyphs():
        narrow = "".join(letter for letter in text if letter not in wide)
        width, _, _ = text_to_path.get_text_width_height_descent(narrow, font, ismath=False)
    return (float(width) + size * len(wide)) / 72


def line_style(position: int) -> dict[str, Any]:
    """Colour, line style and marker of the ``position``-th cluster; distinct for the first 192."""
    marker = MARKERS[position // (len(COLOURS) * len(LINES)) % len(MARKERS)]
    return {
        "color": COLOURS[position % len(COLOURS)],
        "linestyle": LINES[position // len(COLOURS) % len(LINES)],
        "marker": marker or None,
        "markersize": 2.5,
    }
