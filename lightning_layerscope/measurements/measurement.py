"""One measurement of a run: profile, transition and the matrices behind the heatmaps."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lightning_layerscope.measurements.alert import Alert
from lightning_layerscope.measurements.behaviour import Behaviour
from lightning_layerscope.profiles import LayerProfile
from lightning_layerscope.transitions import SignalTable, Transition

Floats = NDArray[np.float64]


@dataclass
class Measurement:
    """What was measured at one step.

    Attributes:
        step: of training.
        profile: the rows of this step.
        transition: where its curve changes, or none.
        signals: where each signal that a run has changes, and where they agree; ``None`` in runs of older versions.
        layer_x_layer: ``(layers, layers)``, mean over tasks of the CKA between all layers of the current model;
            ``None`` where not asked for.
        task_x_task: per chosen layer ``(tasks, tasks)``: cosine of the task means after removing the grand mean.
        curves: what the monitor's options ask for beside the similarity, by name: ``(3, layers)``, value and interval.
        seconds: wall time the measurement took; filled by who measures.
        overhead: share of the run's wall time that all measurements took so far, NaN before the first step; filled by
            who measures.
        warnings: in words.
        behaviour: how the model answers; empty where it was not asked for.
        alerts: what the run's owner has to know, each in the first measurement that shows it.
    """

    step: int
    profile: LayerProfile
    transition: Transition
    layer_x_layer: Floats | None = None
    task_x_task: dict[int, Floats] = field(default_factory=dict)
    curves: dict[str, Floats] = field(default_factory=dict)
    seconds: float = 0.0
    overhead: float = 0.0
    warnings: list[str] = field(default_factory=list)
    signals: SignalTable | None = None
    behaviour: Behaviour = field(default_factory=Behaviour)
    alerts: list[Alert] = field(default_factory=list)

    @cached_property
    def task_mean(self) -> Floats:
        """``(layers,)`` mean over tasks of the headline measure; NaN where no task has a value. Computed once."""
        return self.profile.mean_curve()["value"].to_numpy(dtype=np.float64)
