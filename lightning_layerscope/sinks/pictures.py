"""The pictures of one measurement, under constant keys, small enough to be logged every time."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lightning_layerscope import charts
from lightning_layerscope.charts import to_image
from lightning_layerscope.sinks.keys import CURVE, HEATMAPS

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from lightning_layerscope.measurements import Measurement
    from lightning_layerscope.profiles import LayerProfile

MOST_BYTES = 300_000
RESOLUTIONS = (110, 90, 75, 60)
"""Dots per inch; a coarser one is taken only where the finer pictures together are larger than allowed."""


def draw(measurement: Measurement, profile: LayerProfile) -> Iterator[tuple[str, Figure, str]]:
    """Key, figure and caption of every picture, one after the other.

    Args:
        measurement: what to show.
        profile: of the run up to this measurement.
    """
    now, transition = measurement.profile, measurement.transition
    when = f"step {measurement.step}"
    yield CURVE, charts.layer_curve(profile, transition=transition), f"{when}: {transition.describe()}"
    yield HEATMAPS["layer_x_task"], charts.heatmap_layer_x_task(now, transition=transition), when
    yield HEATMAPS["layer_x_step"], charts.heatmap_layer_x_step(profile), f"up to {when}"
    if measurement.layer_x_layer is not None:
        yield (
            HEATMAPS["layer_x_layer"],
            charts.heatmap_layer_x_layer(
                measurement.layer_x_layer, now.layers, step=measurement.step, tasks=len(now.tasks)
            ),
            when,
        )
    for layer, matrix in sorted(measurement.task_x_task.items()):
        figure = charts.heatmap_task_x_task(matrix, now.tasks, now.clusters, layer, step=measurement.step)
        yield HEATMAPS["task_x_task"], figure, f"{when}, layer {layer}"


def pictures(measurement: Measurement, profile: LayerProfile) -> dict[str, list[tuple[Image, str]]]:
    """Images and captions per key, all together at most 300 KB as PNG files.

    Raises:
        ValueError: if they are larger even at the coarsest resolution (several hundred tasks).
    """
    figures = list(draw(measurement, profile))
    # Task x task comes several times: it is made coarser first, the other pictures only where that is not enough.
    several = {HEATMAPS["task_x_task"]}
    drawn = [_drawn(figure, RESOLUTIONS[0]) for _, figure, _ in figures]
    for keys, dpi in [*((several, dpi) for dpi in RESOLUTIONS[1:]), *((set(), dpi) for dpi in RESOLUTIONS[1:])]:
        if sum(size for _, size in drawn) <= MOST_BYTES:
            break
        for position, (key, figure, _) in enumerate(figures):
            if not keys or key in keys:
                drawn[position] = _drawn(figure, dpi)
    size = sum(size for _, size in drawn)
    if size > MOST_BYTES:
        raise ValueError(
            f"the pictures of {len(measurement.profile.tasks)} tasks take {size} bytes, {MOST_BYTES} are allowed; "
            "measure fewer tasks, or choose fewer layers for task x task"
        )
    found: dict[str, list[tuple[Image, str]]] = {}
    for (key, _, caption), (image, _) in zip(figures, drawn, strict=True):
        found.setdefault(key, []).append((image, caption))
    return found


def _drawn(figure: Figure, dpi: int) -> tuple[Image, int]:
    """An image and its size as a PNG file."""
    image = to_image(figure, dpi=dpi)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return image, buffer.tell()
