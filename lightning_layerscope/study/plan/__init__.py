"""The plan of a study: its settings, how they are read from YAML, and errors that name the line."""

from lightning_layerscope.study.plan.groups import (
    Budget,
    ExtraControls,
    LayerCheck,
    Probes,
    Ray,
    TaskSource,
    Template,
    Wandb,
)
from lightning_layerscope.study.plan.study_plan import StudyPlan
from lightning_layerscope.study.plan.training import Training
from lightning_layerscope.study.plan.yaml_lines import PlanError

__all__ = [
    "Budget",
    "ExtraControls",
    "LayerCheck",
    "PlanError",
    "Probes",
    "Ray",
    "StudyPlan",
    "TaskSource",
    "Template",
    "Training",
    "Wandb",
]
