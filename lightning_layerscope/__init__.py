"""See where multi-task learning happens inside a language model while you fine-tune it.

Everything public is listed in ``__all__`` and loaded on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lightning_layerscope import callbacks, charts, functional, metrics, sinks, tasks
    from lightning_layerscope.advice.check_models import check_layers
    from lightning_layerscope.callbacks.loop import watch
    from lightning_layerscope.comparison import compare
    from lightning_layerscope.extraction import HiddenStates, extract_hidden_states, no_trace
    from lightning_layerscope.measurements import Measurement, RunRecord, take_measurement
    from lightning_layerscope.probes import Probe, ProbeSet
    from lightning_layerscope.profiles import LayerProfile
    from lightning_layerscope.references import ReferenceBank
    from lightning_layerscope.study.trial.advise import advise
    from lightning_layerscope.transitions import Transition, find_transitions

_SUBPACKAGES = ("callbacks", "charts", "functional", "metrics", "sinks", "tasks")
_HOMES = {
    "HiddenStates": "extraction",
    "LayerProfile": "profiles",
    "Measurement": "measurements",
    "Probe": "probes",
    "ProbeSet": "probes",
    "ReferenceBank": "references",
    "RunRecord": "measurements",
    "Transition": "transitions",
    "advise": "study.trial.advise",
    "check_layers": "advice.check_models",
    "compare": "comparison",
    "extract_hidden_states": "extraction",
    "find_transitions": "transitions",
    "no_trace": "extraction",
    "take_measurement": "measurements",
    "watch": "callbacks.loop",
}

__all__ = [
    "HiddenStates",
    "LayerProfile",
    "Measurement",
    "Probe",
    "ProbeSet",
    "ReferenceBank",
    "RunRecord",
    "Transition",
    "advise",
    "callbacks",
    "charts",
    "check_layers",
    "compare",
    "extract_hidden_states",
    "find_transitions",
    "functional",
    "metrics",
    "no_trace",
    "sinks",
    "take_measurement",
    "tasks",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
