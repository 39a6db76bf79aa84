"""A run's results as trackers get them, with pictures that nobody had to draw."""

import importlib
import io
import os
from types import SimpleNamespace

import pytest
from PIL import Image

from lightning_layerscope.measurements import RunRecord
from lightning_layerscope.sinks.picture import Picture

# Decided before any of them is loaded: none talks to a network.
os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="1", DVC_NO_ANALYTICS="1", DVC_TEST="true")
os.environ.update(SWANLAB_MODE="offline", AIM_TRACKING_DISABLED="1", GIT_TERMINAL_PROMPT="0")

KEYS = ("layerscope/curve/layers", "layerscope/heatmap/layer_x_task", "layerscope/heatmap/task_x_task/1")


def pictures(step):
    """One of a key of its own, and two that share one."""
    names = ("curve/layers", "heatmap/layer_x_task", "heatmap/task_x_task", "heatmap/task_x_task")
    drawn = []
    for width, name in enumerate(names, start=3):
        buffer = io.BytesIO()
        Image.new("P", (width, 2)).save(buffer, "PNG")
        drawn.append(Picture(f"layerscope/{name}", f"step {step}", buffer.getvalue()))
    return drawn


def replay(sink, record):
    """What a monitor does over a run; pictures come one measurement late. Gives the rows' keys."""
    growing = RunRecord(record.config, run_id=record.run_id)
    sink.start(growing)
    late = None
    for measurement in record.measurements:
        growing.add(measurement)
        sink.log(measurement, growing, measurement.step + 3)
        assert sink.wants_pictures(growing)
        if late is not None:
            assert sink.log_pictures(pictures(late), step=late, host_step=late + 3, last=False)
        late = measurement.step
    assert sink.log_pictures(pictures(late), step=late, host_step=late + 3, last=True)
    sink.finish(growing, "finished")


@pytest.fixture
def tried():
    """The functions above: test files cannot import from here."""
    return SimpleNamespace(pictures=pictures, replay=replay, keys=KEYS)


@pytest.fixture
def needs():
    """A tracker's own library; its absence skips, but where all of them are to be there."""

    def load(name):
        if os.environ.get("LAYERSCOPE_TRACKERS"):
            return importlib.import_module(name)
        return pytest.importorskip(name)

    return load
