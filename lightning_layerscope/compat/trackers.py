"""How the handles of trackers are known, without importing any of them."""

from __future__ import annotations

from typing import Any

_LOGGERS = {
    "AimLogger": "aim",
    "CometLogger": "comet",
    "CSVLogger": "csv",
    "DVCLiveLogger": "dvclive",
    "LitLogger": "litlogger",
    "MLFlowLogger": "mlflow",
    "SwanLabLogger": "swanlab",
}
"""Class of a logger for Lightning, of either namespace or the tracker's own -> kind."""

_OBJECTS = {
    ("aim", "Run"): "aim",
    ("clearml", "Task"): "clearml",
    ("comet_ml", "BaseExperiment"): "comet",
    ("comet_ml", "CometExperiment"): "comet",
    ("comet_ml", "Experiment"): "comet",
    ("dvclive", "Live"): "dvclive",
    ("mlflow", "Run"): "mlflow",
    ("swanlab", "Run"): "swanlab",
    ("swanlab", "SwanLabRun"): "swanlab",
    ("trackio", "Run"): "trackio",
}
"""Package and class of a tracker's own object -> kind."""


def tracker_kind(handle: Any) -> str | None:
    """Which tracker a logger or an object is of; None where it is of none that is known here."""
    for base in type(handle).__mro__:
        kind = _LOGGERS.get(base.__name__) or _OBJECTS.get((base.__module__.split(".")[0], base.__name__))
        if kind is not None:
            return kind
    return None
