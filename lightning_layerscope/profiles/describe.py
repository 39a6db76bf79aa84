"""A profile in a notebook cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_layerscope.notebook import card, spread
from lightning_layerscope.text_tables import number
from lightning_layerscope.wording import count

if TYPE_CHECKING:
    from lightning_layerscope.profiles.profile import LayerProfile


def html(profile: LayerProfile) -> str:
    """What was measured with what, and the mean over tasks at the last step, at up to 12 layers."""
    steps, clusters = profile.steps, len(set(profile.clusters.values()))
    lines = [
        f"{count(len(profile.tasks), 'task')} in {count(clusters, 'cluster')}, {len(profile.layers)} of "
        f"{count(profile.num_layers, 'layer')}, against {profile.meta.reference or 'a reference without a name'}",
        f"{', '.join(profile.measures)}; {_steps(steps)}",
    ]
    if not steps:
        return card("LayerProfile", lines)
    curve = profile.mean_curve().iloc[spread(len(profile.layers))]
    numbers = [[number(value) for value in curve[column].tolist()] for column in ("value", "low", "high")]
    names = ("mean over tasks", "90 % interval from", "to")
    header = ["layer", *map(str, curve["layer"].tolist())]
    rows = [[name, *values] for name, values in zip(names, numbers, strict=True)]
    return card(f"LayerProfile: {profile.measure}", lines, header, rows)


def _steps(steps: list[int]) -> str:
    if len(steps) < 2:
        return f"step {steps[0]:,}" if steps else "no step"
    return f"{count(len(steps), 'measurement')}, steps {steps[0]:,} to {steps[-1]:,}"
