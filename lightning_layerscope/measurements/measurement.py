"""One measurement of a run: profile, transition and the matrices behind the heatmaps."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lightning_layerscope.functional.cluster_intervals import MeanIntervals, mean_intervals
from lightning_layerscope.measurements.alert import Alert
from lightning_layerscope.measurements.behaviour import Behaviour
from lightning_layerscope.notebook import card, charts
from lightning_layerscope.profiles import LayerProfile, describe
from lightning_layerscope.profiles.curves import cluster_means
from lightning_layerscope.transitions import SignalTable, Transition

if TYPE_CHECKING:
    import altair as alt

Floats = NDArray[np.float64]


@dataclass
class Measurement:
    """What was measured at one step.

    Attributes:
        step: Step of training.
        profile: The rows of this step.
        transition: Where its curve changes, or none.
        signals: Where each signal that a run has changes, and where they agree; ``None`` in runs of older versions.
        layer_x_layer: ``(layers, layers)``, mean over tasks of the CKA between all layers of the current model;
            ``None`` where not asked for.
        task_x_task: Per chosen layer ``(tasks, tasks)``: cosine of the task means after removing the grand mean.
        curves: What the monitor's options ask for beside the similarity, by name: ``(3, layers)``, value and interval.
        seconds: Wall time the measurement took; filled by who measures.
        overhead: Share of the run's wall time that all measurements took so far, NaN before the first step; filled by
            who measures.
        warnings: In words.
        behaviour: How the model answers; empty where it was not asked for.
        alerts: What the run's owner has to know, each in the first measurement that shows it.
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
    def values(self) -> Floats:
        """``(tasks, layers)`` of the headline measure; NaN where undefined. Looked up in the rows once."""
        return self.profile.matrix(step=self.step)

    @cached_property
    def mean(self) -> MeanIntervals:
        """Mean over tasks of the headline measure per layer, with its interval; see :meth:`LayerProfile.mean_curve`."""
        return mean_intervals(self.values, self._labels)

    @cached_property
    def cluster_means(self) -> dict[str, Floats]:
        """``(layers,)`` mean over the tasks of each cluster of the headline measure; NaN where none has a value."""
        return cluster_means(self.values, self._labels)

    @property
    def task_mean(self) -> Floats:
        """``(layers,)`` mean over tasks of the headline measure; NaN where no task has a value."""
        return self.mean.mean

    def _repr_html_(self) -> str:
        """What a notebook shows: the profile, the transition and the warnings."""
        took = f", took {self.seconds:.1f} s" if self.seconds else ""
        warnings = [f"warning: {warning}" for warning in self.warnings]
        return card(
            f"Measurement of step {self.step:,}{took}", [self.transition.describe(), *warnings]
        ) + describe.html(self.profile)

    def plot(self, what: str = "tasks", *, layer: int | None = None) -> alt.TopLevelMixin:
        """A chart, for a notebook or for :func:`lightning_layerscope.charts.png` and its like.

        Args:
            what: ``"tasks"`` (layer x task), ``"curve"`` (the mean over layers), ``"layers"`` (layer x layer) or
                ``"between"`` (task x task at one layer).
            layer: Which, for ``"between"``; the last that was measured by default.

        Raises:
            ValueError: For another name, or what was not measured.
        """
        return charts().measurement_chart(self, what, layer=layer)

    @property
    def _labels(self) -> list[str]:
        """The cluster of each task."""
        clusters = self.profile.clusters
        return [clusters[task] for task in self.profile.tasks]

    def show(self) -> None:
        """Draw layer x task and the curve over layers: in the terminal, or as charts in a notebook."""
        charts().show(self.profile, transition=self.transition)
