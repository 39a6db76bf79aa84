"""Charts as PNG, SVG and plain Vega-Lite, without a browser and without a network."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import altair as alt
import vl_convert

from lightning_layerscope.charts import theme

VERSION = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
_GLOBALS = "Object.assign(window, { vegaEmbed });"
_ESCAPES = re.compile(r"\\\\|\\ud[89ab]..\\ud[c-f]..|\\[bf]|\\u(?:00[01].|d[89a-f]..|fff[ef])")


def spec(chart: alt.TopLevelMixin, *, dark: bool = False) -> dict[str, Any]:
    """The chart as a Vega-Lite specification: a plain ``dict`` with its rows in ``datasets``, by name.

    Args:
        chart: Of this package, or any other of altair's.
        dark: In dark colours.
    """
    bare: Any = chart.copy(deep=False)
    rows = bare._get("datasets", alt.Undefined)
    bare.datasets, bare.config = alt.Undefined, alt.Undefined
    # What altair checks by default are the rows above all, and those are ours.
    described: dict[str, Any] = bare.to_dict(validate=False)
    described["config"] = theme.config(dark=dark)
    if rows is not alt.Undefined:
        described["datasets"] = {**described.get("datasets", {}), **rows}
    return described


def png(chart: alt.TopLevelMixin, *, scale: float = 1.0, dark: bool = False, colours: int | None = None) -> bytes:
    """The chart as a PNG file.

    Args:
        chart: What to draw.
        scale: Pixels per pixel of the description: 1 for trackers, 2 and more for paper and fine screens.
        dark: In dark colours.
        colours: How many different ones the file may hold, at most 256: a heatmap of 256 takes a tenth of the bytes,
            and none of its cells differs to the eye. All by default.
    """
    drawn: bytes = vl_convert.vegalite_to_png(_drawable(spec(chart, dark=dark)), vl_version=VERSION, scale=scale)
    return drawn if colours is None else _reduced(drawn, colours)


def _drawable(described: dict[str, Any]) -> str:
    """As JSON, without what no XML can hold (control characters, halves of letters): it would end the process."""

    def keep(escape: re.Match[str]) -> str:
        whole_letter = escape[0] == "\\\\" or len(escape[0]) == 12
        return escape[0] if whole_letter else " "

    return _ESCAPES.sub(keep, json.dumps(described))


def _reduced(drawn: bytes, colours: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(drawn)) as image:
        plain = image.convert("RGB")
        # The one method that keeps rare colours, too: no cell of a heatmap, no thin line moves by more than a shade.
        few = plain.quantize(colours, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def svg(chart: alt.TopLevelMixin, *, dark: bool = False) -> str:
    """The chart as an SVG file; its text stays text."""
    drawn: str = vl_convert.vegalite_to_svg(_drawable(spec(chart, dark=dark)), vl_version=VERSION)
    return drawn


def javascript() -> str:
    """A script with Vega, Vega-Lite and Vega-Embed, for pages that draw without a network (1.3 MB).

    It sets ``vegaEmbed`` on ``window``; of the version that :func:`spec` is made for.
    """
    script: str = vl_convert.javascript_bundle(_GLOBALS, VERSION)
    return script
