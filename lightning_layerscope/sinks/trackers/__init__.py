"""One small file for each tracker, with its own calls; what a handle is, :mod:`~lightning_layerscope.compat` knows."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lightning_layerscope.compat.trackers import tracker_kind

if TYPE_CHECKING:
    from lightning_layerscope.sinks.tracker import Tracker

CLASSES = {
    "aim": "AimTracker",
    "clearml": "ClearMLTracker",
    "comet": "CometTracker",
    "csv": "CSVTracker",
    "dvclive": "DVCLiveTracker",
    "litlogger": "LitLoggerTracker",
    "mlflow": "MLflowTracker",
    "swanlab": "SwanLabTracker",
    "trackio": "TrackioTracker",
}
"""Kind of handle -> class, in the file of that name."""


def tracker_of(handle: Any) -> Tracker | None:
    """The tracker of a trainer's logger, or of a tracker's own object; None for what is of no tracker here."""
    kind = tracker_kind(handle)
    if kind is None:
        return None
    made: Tracker = getattr(importlib.import_module(f"{__name__}.{kind}"), CLASSES[kind])(handle)
    return made
