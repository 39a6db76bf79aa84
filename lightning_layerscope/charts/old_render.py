"""Figures as bytes: PNG with a small palette for loggers, SVG that follows a page's light or dark colours for HTML."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lightning_layerscope.charts import style
from lightning_layerscope.compat.known_warnings import without_missing_glyphs

if TYPE_CHECKING:
    from PIL.Image import Image

THEME = {
    style.INK: "--ink",
    style.MUTED: "--muted",
    style.FAINT: "--faint",
    style.PAPER: "--paper",
    style.UNDEFINED: "--undefined",
    style.UNDEFINED_LINES: "--undefined-lines",
    **{colour: f"--line-{position}" for position, colour in enumerate(style.COLOURS)},
}
"""These colours become CSS variables in an SVG, with themselves as fallback."""


def to_image(figure: Figure, *, dpi: int = style.DPI) -> Image:
    """A palette image of the figure's 256 most frequent colours: a third of the size of true colour.

    The colours of heatmaps (at most 128) are all kept; only smoothed edges of letters and lines move to a neighbour.
    """
    from PIL import Image as Images

    canvas = FigureCanvasAgg(figure)
    own = figure.get_dpi()
    try:
        figure.set_dpi(dpi)
        with _quiet():
            canvas.draw()
        pixels = np.array(canvas.buffer_rgba())[..., :3]
    finally:
        figure.set_dpi(own)
    picture = Images.fromarray(pixels)
    counted = sorted(picture.getcolors(picture.width * picture.height) or [], reverse=True)
    codes = np.array([_packed(colour) for _, colour in counted])
    kept = np.array(list(dict.fromkeys([*_heatmap_colours(figure), *codes.tolist()]))[:256])
    # A table over all colours is far quicker than sorting a million pixels.
    table = np.zeros(1 << 24, np.uint8)
    table[codes] = _nearest(codes, kept)
    image = Images.fromarray(table[pixels.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)])
    image.putpalette(_split(kept).astype(np.uint8).tobytes())
    return image


def _packed(colour: Any) -> int:
    red, green, blue = colour
    return int(red) << 16 | int(green) << 8 | int(blue)


def _nearest(codes: Any, kept: Any) -> Any:
    """For every colour the position of the closest kept one; a kept colour stays as it is."""
    distance = np.square(_split(codes)[:, None] - _split(kept)[None]).sum(axis=2)
    return distance.argmin(axis=1).astype(np.uint8)


def _split(codes: Any) -> Any:
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1).astype(np.int32)


def to_png(figure: Figure, *, dpi: int = style.DPI) -> bytes:
    """The figure as a small PNG file."""
    buffer = io.BytesIO()
    to_image(figure, dpi=dpi).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def to_svg(figure: Figure, *, name: str, label: str) -> str:
    """The figure as an ``<svg>`` element to put into a page.

    Text stays text in the page's own font; ids are unique to ``name``, so that several figures fit on one page.

    Args:
        figure: what to draw.
        name: unique on the page.
        label: what the picture shows, for people who cannot see it.
    """
    buffer = io.StringIO()
    with _quiet(), matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'(font: [^;"]*?px )[^;"]*', r"\1var(--sans, sans-serif)", svg)
    for colour, variable in THEME.items():
        # A presentation attribute takes no variable, a style does.
        svg = re.sub(rf'(fill|stroke)="{colour}"', rf'style="\1: {colour}"', svg)
        svg = re.sub(rf": {colour}\b", f": var({variable}, {colour})", svg)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    width = float(figure.get_size_inches()[0]) * 110
    opening = f'<svg role="img" aria-label="{_attribute(label)}" style="max-width: {width:.0f}px"'
    return re.sub(r'<svg([^>]*?) width="[^"]*"', rf"{opening}\1", svg, count=1).replace("\n", " ")


def _heatmap_colours(figure: Figure) -> list[int]:
    """The colours of all heatmaps as 24-bit numbers; none where there are too many to keep them all."""
    maps = {image.get_cmap().name: image.get_cmap() for axes in figure.axes for image in axes.images}
    colours = [row for each in maps.values() for row in each(range(each.N), bytes=True)[:, :3].tolist()]
    return [_packed(colour) for colour in colours] if len(colours) <= 192 else []


def _attribute(text: str) -> str:
    for raw, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("\\", "&#92;")):
        text = text.replace(raw, safe)
    return text


@contextmanager
def _quiet() -> Iterator[None]:
    """Task names may hold letters that matplotlib's font lacks: they come out as boxes in a PNG, no reason to warn."""
    with without_missing_glyphs(), matplotlib.rc_context(style.SETTINGS):
        yield
