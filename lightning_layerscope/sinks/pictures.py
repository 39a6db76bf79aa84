"""The pictures of one measurement, under constant keys, small enough to be logged every time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from lightning_layerscope import charts
from lightning_layerscope.sinks.keys import CURVE, HEATMAPS
from lightning_layerscope.sinks.picture import Picture

if TYPE_CHECKING:
    import altair as alt

    from lightning_layerscope.measurements import Measurement, RunRecord

_log = logging.getLogger(__name__)

MOST_BYTES = 300_000
MOST_TASKS = 120
"""More tasks than this do not fit into a picture of task x task within the budget."""


def draw_pictures(measurement: Measurement, record: RunRecord) -> list[Picture]:
    """All pictures of a measurement, together at most 300 KB.

    Several hundred tasks have no picture of task x task, and what is larger than expected is left out; the log says so.

    Args:
        measurement: The record's last.
        record: Of the run so far; several trackers of one run get the same pictures.
    """
    drawn_for, pictures = _LATEST.get(record, (None, []))
    if drawn_for is not measurement:
        pictures = _draw(measurement, record)
        _LATEST[record] = (measurement, pictures)
    return pictures


_LATEST: WeakKeyDictionary[RunRecord, tuple[Measurement, list[Picture]]] = WeakKeyDictionary()


def _draw(measurement: Measurement, record: RunRecord) -> list[Picture]:
    described = _described(measurement, record)
    pictures = [Picture(key, caption, charts.png(chart, colours=256)) for key, chart, caption in described]
    while sum(len(picture.png) for picture in pictures) > MOST_BYTES:
        largest = max(pictures, key=lambda picture: len(picture.png))
        _log.warning("%s (%s) is too large to be logged; the report shows it", largest.key, largest.caption)
        pictures.remove(largest)
    return pictures


def _described(measurement: Measurement, record: RunRecord) -> Iterator[tuple[str, alt.TopLevelMixin, str]]:
    """Key, chart and caption of every picture, one after the other."""
    now, transition, when = measurement.profile, measurement.transition, f"step {measurement.step}"
    yield CURVE, charts.run_chart(record, "curve"), f"{when}: {transition.describe()}"
    yield HEATMAPS["layer_x_task"], charts.measurement_chart(measurement, "tasks"), when
    yield HEATMAPS["layer_x_step"], charts.run_chart(record, "steps"), f"up to {when}"
    if measurement.layer_x_layer is not None:
        yield HEATMAPS["layer_x_layer"], charts.measurement_chart(measurement, "layers"), when
    if len(now.tasks) > MOST_TASKS:
        _log.info("%d tasks are too many for a logged picture of task x task; the report shows it", len(now.tasks))
        return
    for layer in sorted(measurement.task_x_task):
        chart = charts.measurement_chart(measurement, "between", layer=layer)
        yield HEATMAPS["task_x_task"], chart, f"{when}, layer {layer}"
