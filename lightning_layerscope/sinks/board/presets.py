"""Two charts that W&B does not have, as presets: a curve with its band, and a heatmap.

W&B puts the rows of the chosen runs under the data ``wandb``, and a panel's own columns where ``${field:...}`` stands.
"""

from __future__ import annotations

from typing import Any

CURVE, HEATMAP = "layerscope-curve", "layerscope-heatmap"
TITLES = {CURVE: "Curve with its interval", HEATMAP: "Heatmap of the last step"}

_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"


def specs() -> dict[str, dict[str, Any]]:
    """Name of a preset to its Vega-Lite specification."""
    return {CURVE: _curve(), HEATMAP: _heatmap()}


def upload(entity: str) -> list[str]:
    """Upload the presets, for the entity alone; those of an earlier upload are replaced.

    Returns:
        Their ids, ``entity/name``.
    """
    import wandb

    api = wandb.Api()
    return [
        api.create_custom_chart(
            entity=entity, name=name, display_name=TITLES[name], spec_type="vega2", access="private", spec=spec
        )
        for name, spec in specs().items()
    ]


def _curve() -> dict[str, Any]:
    axis = {"tickMinStep": 1, "format": "~g"}
    x = {"field": "${field:x}", "type": "quantitative", "title": "${string:x_title}", "axis": axis}
    color = {"field": "${field:line}", "type": "nominal", "title": None}
    value = {"field": "${field:value}", "type": "quantitative", "title": "${string:y_title}", "scale": {"zero": False}}
    band = {"y": {**value, "field": "${field:low}"}, "y2": {"field": "${field:high}"}}
    tooltip = [{"field": f"${{field:{name}}}"} for name in ("line", "x", "value", "low", "high")]
    return {
        "$schema": _SCHEMA,
        "title": "${string:title}",
        "data": {"name": "wandb"},
        "encoding": {"x": x, "color": color},
        "layer": [
            {"mark": {"type": "area", "opacity": 0.2}, "encoding": band},
            {"mark": {"type": "line", "point": True}, "encoding": {"y": value, "tooltip": tooltip}},
        ],
    }


def _heatmap() -> dict[str, Any]:
    last = {
        "joinaggregate": [{"op": "max", "field": "${field:step}", "as": "last"}],
        "groupby": ["name"],
    }
    tooltip = [{"field": f"${{field:{name}}}"} for name in ("row", "column", "value")]
    return {
        "$schema": _SCHEMA,
        "title": "${string:title}",
        "data": {"name": "wandb"},
        "transform": [
            {"filter": "datum['${field:measure}'] == '${string:measure}'"},
            last,
            {"filter": "datum['${field:step}'] == datum.last"},
        ],
        "facet": {"row": {"field": "name", "title": None}},
        "spec": {
            "mark": "rect",
            "encoding": {
                "x": {"field": "${field:column}", "type": "ordinal"},
                "y": {"field": "${field:row}", "type": "nominal", "sort": None},
                "color": {
                    "field": "${field:value}",
                    "type": "quantitative",
                    "scale": {"domain": [0, 1], "clamp": True, "scheme": "viridis"},
                },
                "tooltip": tooltip,
            },
        },
    }
