"""Charts as PNG, SVG and plain Vega-Lite, without a browser and without a network."""

from __future__ import annotations

import re
from typing import Any

import altair as alt
import vl_convert

from lightning_layerscope.charts import theme

_VERSION = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
_GLOBALS = "Object.assign(window, { vega, vegaLite, vegaEmbed });"
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def spec(chart: alt.TopLevelMixin, *, dark: bool = False) -> dict[str, Any]:
    """The chart as a Vega-Lite specification: a plain ``dict`` with its rows in ``datasets``, by name.

    Args:
        chart: of this package, or any other of altair's.
        dark: in dark colours.
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


def png(chart: alt.TopLevelMixin, *, scale: float = 1.0, dark: bool = False) -> bytes:
    """The chart as a PNG file.

    Args:
        chart: what to draw.
        scale: pixels per pixel of the description: 1 for trackers, 2 and more for paper and fine screens.
        dark: in dark colours.
    """
    drawn: bytes = vl_convert.vegalite_to_png(spec(chart, dark=dark), vl_version=_VERSION, scale=scale)
    return drawn


def svg(chart: alt.TopLevelMixin, *, dark: bool = False) -> str:
    """The chart as an SVG file; its text stays text."""
    drawn: str = vl_convert.vegalite_to_svg(spec(chart, dark=dark), vl_version=_VERSION)
    return _UNPRINTABLE.sub(" ", drawn)


def javascript() -> str:
    """A script with Vega, Vega-Lite and Vega-Embed, for pages that draw without a network (1.3 MB).

    It sets ``vega``, ``vegaLite`` and ``vegaEmbed`` on ``window``; of the version that :func:`spec` is made for.
    """
    script: str = vl_convert.javascript_bundle(_GLOBALS, _VERSION)
    return script
