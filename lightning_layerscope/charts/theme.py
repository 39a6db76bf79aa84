"""One look for all charts, light and dark, as a Vega-Lite ``config``: every colour and letter size stands here.

Charts name what they draw (``style="part"``) or which range they colour by (``"category"``), never a colour, so that a
page can change between light and dark by drawing the same description with the other config.
"""

from __future__ import annotations

from typing import Any

INK, MUTED, FAINT, PAPER = "#1f2a37", "#5f6b78", "#d3d9e0", "#ffffff"
DARK_INK, DARK_MUTED, DARK_FAINT, DARK_PAPER = "#e6eaf0", "#9aa6b2", "#3a4450", "#14181e"

CATEGORY = ("#0072b2", "#d55e00", "#009e73", "#b8568c", "#3fa7e0", "#d99000", "#7a4b1e", "#6d7680")
"""Eight colours after Okabe and Ito, told apart with any colour vision, on light and on dark ground."""
DARK_CATEGORY = ("#4aa8e0", "#f0803c", "#2cc295", "#d987b4", "#9ad3f5", "#f2b84b", "#c08a55", "#a3adb8")

DASHES = ([1, 0], [7, 3], [2, 2], [8, 2, 2, 2])
"""Line styles, each for as many lines as there are colours: together they tell 32 lines apart."""

SEQUENTIAL, DIVERGING = "viridis", "blueorange"
FONT = "sans-serif"


def config(*, dark: bool = False) -> dict[str, Any]:
    """The Vega-Lite ``config`` of all charts."""
    ink, muted, faint, paper = (DARK_INK, DARK_MUTED, DARK_FAINT, DARK_PAPER) if dark else (INK, MUTED, FAINT, PAPER)
    category = list(DARK_CATEGORY if dark else CATEGORY)
    undefined, crossed = ("#2a323c", "#6c7885") if dark else ("#e4e7eb", "#98a2ad")
    words = {
        "labelColor": ink,
        "titleColor": ink,
        "labelFontSize": 10,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
    }
    return {
        "background": paper,
        "font": FONT,
        "padding": 8,
        "view": {"stroke": None},
        "title": {
            "anchor": "start",
            "frame": "bounds",
            "color": ink,
            "subtitleColor": muted,
            "fontSize": 14,
            "subtitleFontSize": 11,
            "subtitlePadding": 4,
            "offset": 12,
        },
        "axis": {
            **words,
            "domainColor": muted,
            "tickColor": muted,
            "gridColor": faint,
            "tickSize": 3,
            "labelOverlap": "parity",
            "labelSeparation": 5,
            "labelLimit": 330,
        },
        "axisDiscrete": {"domain": False, "grid": False},
        "header": {"labelColor": ink, "titleColor": ink, "labelFontSize": 11, "labelAnchor": "start"},
        "legend": {
            **words,
            "labelLimit": 330,
            "symbolStrokeWidth": 2,
            "symbolSize": 220,
            "gradientThickness": 9,
            "gradientLength": 220,
            "offset": 10,
        },
        "line": {"strokeWidth": 2},
        "boxplot": {"median": {"color": paper}, "rule": {"color": muted}, "outliers": {"strokeWidth": 1}},
        "range": {
            "category": category,
            "ordinal": [ink, category[0], category[4], category[1], category[2], category[3], *category[5:]],
            "heatmap": {"scheme": SEQUENTIAL},
            "ramp": {"scheme": SEQUENTIAL},
            "diverging": {"scheme": DIVERGING},
        },
        "style": {
            "undefined": {"color": undefined},
            "slash": {"color": crossed, "strokeWidth": 1},
            "part": {"color": "#f0a202", "fillOpacity": 0.22 if dark else 0.17},
            "boundary": {"color": "#f0a202", "strokeWidth": 2},
            "cut": {"color": "#f0a202", "strokeWidth": 4},
            "rest": {"color": muted, "strokeWidth": 2},
            "separator": {"color": paper, "strokeWidth": 1.5},
            "bracket": {"color": muted, "strokeWidth": 1.5},
            "name": {"color": ink, "fontSize": 10, "align": "left", "baseline": "middle"},
            "note": {"color": muted, "fontSize": 10},
            "all-tasks": {"color": ink, "strokeWidth": 2.2},
            "band": {"fillOpacity": 0.16, "strokeOpacity": 0},
            "level": {"color": muted, "strokeDash": [2, 2]},
        },
    }
