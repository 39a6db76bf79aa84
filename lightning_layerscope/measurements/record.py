"""Everything that was measured in one run, in a folder that grows by one measurement at a time."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lightning_layerscope.measurements import storage
from lightning_layerscope.measurements.measurement import Measurement
from lightning_layerscope.notebook import card, charts
from lightning_layerscope.profiles import LayerProfile, ProfileMeta
from lightning_layerscope.wording import count

if TYPE_CHECKING:
    import altair as alt


class RunRecord:
    """The measurements of one run, in order of their steps.

    On disk: ``config.json`` (configuration), and per measurement one file in each of the folders ``profile.parquet``
    (rows; readers of parquet take the folder for one table), ``matrices`` (heatmaps) and ``measurements`` (transition,
    times, digests; written last, so that a measurement is there when all of it is).

    Args:
        config: How the run was measured, in plain values; kept as it is and shown in reports.
        measurements: Those there are already.
        run_id: Which run it is; made anew for a new one. A folder that holds another run is never written to.

    Attributes:
        config: As passed.
        measurements: In order of their steps.
        run_id: Which run it is.
        rewound: For each :meth:`rewind`, the step gone back to and the steps dropped.
        saved: Per folder the measurements that were written to it or read from it, by step.
    """

    def __init__(
        self, config: Mapping[str, Any] | None = None, measurements: Iterable[Measurement] = (), *, run_id: str = ""
    ) -> None:
        self.config: dict[str, Any] = dict(config or {})
        self.run_id = run_id or uuid.uuid4().hex
        self.measurements: list[Measurement] = []
        self.rewound: list[dict[str, Any]] = []
        self.saved: dict[str, dict[int, Measurement]] = {}
        for measurement in measurements:
            self.add(measurement)

    def __len__(self) -> int:
        return len(self.measurements)

    def __repr__(self) -> str:
        return f"RunRecord(run_id={self.run_id!r}, steps={self.steps})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the last measurement, and how many there are."""
        if not self.measurements:
            return card("RunRecord", ["nothing was measured yet"])
        span = f"steps {self.steps[0]:,} to {self.steps[-1]:,}"
        return card("RunRecord", [f"{count(len(self), 'measurement')}, {span}"]) + self.measurements[-1]._repr_html_()

    def plot(self, what: str = "curve", *, layer: int | None = None) -> alt.TopLevelMixin:
        """A chart, for a notebook or for :func:`lightning_layerscope.charts.png` and its like.

        Args:
            what: ``"curve"`` (first, previous and last measurement), ``"steps"`` (layer x step), or what
                :meth:`Measurement.plot` has, of the last one.
            layer: See there.

        Raises:
            ValueError: For another name, for what was not measured, or if nothing was measured yet.
        """
        return charts().run_chart(self, what, layer=layer)

    def show(self, step: int | None = None) -> None:
        """Draw one measurement, the last by default: in the terminal, or as charts in a notebook.

        Raises:
            KeyError: If the step was not measured, or nothing was yet.
        """
        when = step if step is not None or not self.measurements else self.steps[-1]
        if when not in self.steps:
            raise KeyError(f"step {when} was not measured; measured were {self.steps}")
        self.measurements[self.steps.index(when)].show()

    @property
    def steps(self) -> list[int]:
        """Steps measured."""
        return [measurement.step for measurement in self.measurements]

    @property
    def profile(self) -> LayerProfile:
        """All rows of the run.

        Raises:
            ValueError: If nothing was measured yet.
        """
        return LayerProfile.concat(measurement.profile for measurement in self.measurements)

    @property
    def task_means(self) -> dict[int, NDArray[np.float64]]:
        """Step -> ``(layers,)`` mean over tasks of the headline measure; each is computed once."""
        return {measurement.step: measurement.task_mean for measurement in self.measurements}

    def add(self, measurement: Measurement) -> None:
        """Append a measurement.

        Raises:
            ValueError: If its step is not after the last one, or it was measured on other probes or another reference.
        """
        if measurement.profile.steps != [measurement.step]:
            raise ValueError(
                f"expected a profile of step {measurement.step} alone, got one of steps {measurement.profile.steps}"
            )
        if self.measurements:
            last = self.measurements[-1]
            if measurement.step <= last.step:
                raise ValueError(
                    f"expected a step after {last.step}, got {measurement.step}; where training went back to an "
                    "earlier checkpoint, call rewind(step) first"
                )
            check_same_probes(last.profile.meta, measurement.profile.meta, "this record")
        self.measurements.append(measurement)

    def rewind(self, step: int) -> list[int]:
        """Go back to a checkpoint: drop the measurements after ``step``, which training will pass anew.

        Returns:
            The steps dropped; they are noted in ``rewound``.
        """
        dropped = [measurement.step for measurement in self.measurements if measurement.step > step]
        if dropped:
            self.measurements = [measurement for measurement in self.measurements if measurement.step <= step]
            self.rewound.append({"to": step, "dropped": dropped})
        return dropped

    def save(self, folder: str | Path) -> Path:
        """Write what is new to the run's folder; see :func:`lightning_layerscope.measurements.storage.save`.

        A measurement is written once: what is changed in it afterwards does not reach its files.

        Raises:
            FileExistsError: If the folder holds another run, or measurements that this record does not have.
        """
        return storage.save(self, folder)

    @classmethod
    def load(cls, folder: str | Path) -> RunRecord:
        """Read a record back; see :func:`lightning_layerscope.measurements.storage.load`.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If a file of it is damaged.
        """
        return storage.load(folder, cls)


def check_same_probes(first: ProfileMeta, second: ProfileMeta, where: str) -> None:
    """Raise ValueError where two profiles' metas are of other probes or references."""
    for key in ("examples_digest", "tokens_digest", "reference", "reference_digest", "layers", "tasks", "measure"):
        before, now = getattr(first, key), getattr(second, key)
        if before != now:
            raise ValueError(
                f"expected measurements on the probes and reference of {where}, got {key}={now!r} "
                f"instead of {before!r}; start a new record in another folder"
            )
