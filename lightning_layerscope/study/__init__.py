"""The whole paper as one command: plan, train, measure, compare, report. Loaded on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_layerscope.study.plan import PlanError, StudyPlan
    from lightning_layerscope.study.prepare.checks import StudyError
    from lightning_layerscope.study.study import Study

_HOMES = {"PlanError": "plan", "Study": "study", "StudyError": "prepare.checks", "StudyPlan": "plan"}

__all__ = ["PlanError", "Study", "StudyError", "StudyPlan"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
