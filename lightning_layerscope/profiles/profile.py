"""The result of comparing hidden states with a reference: tidy rows, and what they were measured with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lightning_layerscope.notebook import charts
from lightning_layerscope.profiles import curves, describe, storage
from lightning_layerscope.profiles.curves import Floats
from lightning_layerscope.profiles.joining import merge_meta
from lightning_layerscope.profiles.meta import ProfileMeta
from lightning_layerscope.profiles.schema import check_rows
from lightning_layerscope.wording import count

if TYPE_CHECKING:
    import altair as alt

    from lightning_layerscope.profiles.diff import ProfileDiff


class LayerProfile:
    """Similarity per step, layer and task.

    Args:
        frame: rows with the columns ``step, layer, task, cluster, measure, estimator, value, low, high, reason``;
            ``low`` and ``high`` bound the value's confidence interval over examples (NaN where a measure has none),
            ``reason`` says why a ``value`` is NaN and is ``""`` otherwise.
        meta: what was measured with what: a :class:`~lightning_layerscope.profiles.ProfileMeta`, or a mapping of its
            attributes. What is missing is read off the rows where they hold it.

    Raises:
        ValueError: for missing columns, repeated cells, rows that ``meta`` does not know, or entries of it that cannot
            be what they should be.

    Examples:
        >>> import pandas as pd
        >>> from lightning_layerscope.profiles import COLUMNS
        >>> cells = [(task, layer) for task in "ab" for layer in (1, 2)]
        >>> rows = [(0, layer, task, "c", "cka", "debiased", 1.0 / layer, 0.0, 1.0, "") for task, layer in cells]
        >>> profile = LayerProfile(pd.DataFrame(rows, columns=list(COLUMNS)), {"measure": "cka"})
        >>> profile.matrix()
        array([[1. , 0.5],
               [1. , 0.5]])
    """

    def __init__(self, frame: pd.DataFrame, meta: ProfileMeta | Mapping[str, Any]) -> None:
        self.frame = check_rows(frame)
        known = meta if isinstance(meta, ProfileMeta) else ProfileMeta.from_dict(meta)
        self.meta = known.completed(self.frame)
        self._cells: dict[tuple[str, int], curves.Cells] = {}  # rows are found once; nobody changes their names

    def __repr__(self) -> str:
        return (
            f"LayerProfile(measure={self.measure!r}, {count(len(self.tasks), 'task')}, {len(self.layers)} of "
            f"{count(self.num_layers, 'layer')}, steps={self.steps}, reference={self.meta.reference!r})"
        )

    def __len__(self) -> int:
        return len(self.frame)

    def _repr_html_(self) -> str:
        """What a notebook shows: what was measured, and the mean over tasks of the last step."""
        return describe.html(self)

    def plot(self, what: str = "tasks") -> alt.TopLevelMixin:
        """A chart, for a notebook or for :func:`lightning_layerscope.charts.png` and its like.

        Args:
            what: ``"tasks"`` (layer x task, the last step), ``"curve"`` (the mean over layers) or ``"steps"`` (layer x
                step).

        Raises:
            ValueError: for another name.
        """
        return charts().profile_chart(self, what)

    @property
    def measure(self) -> str:
        """The headline measure."""
        return self.meta.measure

    @property
    def measures(self) -> list[str]:
        """All measures, in the order of their rows."""
        return [str(name) for name in self.frame["measure"].unique()]

    @property
    def steps(self) -> list[int]:
        """Steps measured, increasing."""
        return [int(step) for step in np.sort(self.frame["step"].unique())]

    @property
    def layers(self) -> list[int]:
        """Layers measured, increasing; ``l`` is the output of decoder block ``l`` before any final norm."""
        return list(self.meta.layers)

    @property
    def num_layers(self) -> int:
        """Number of decoder blocks of the model."""
        return self.meta.num_layers

    @property
    def tasks(self) -> list[str]:
        """Task names, in the probes' order."""
        return list(self.meta.tasks)

    @property
    def clusters(self) -> dict[str, str]:
        """Cluster of each task."""
        return dict(self.meta.clusters)

    def rows(self, measure: str | None = None, step: int | None = None) -> pd.DataFrame:
        """The rows of one measure (default: the headline) at one step (default: the last).

        Raises:
            KeyError: if the profile has no such measure or step; the message lists those it has.
        """
        found: pd.DataFrame = self.frame.iloc[self._find(measure, step).rows]
        return found

    def matrix(self, measure: str | None = None, step: int | None = None, *, column: str = "value") -> Floats:
        """Values ``(tasks, layers)`` of one measure at one step; NaN where undefined or not measured.

        Args:
            measure: the headline by default.
            step: the last by default.
            column: ``"value"``, ``"low"`` or ``"high"``.

        Raises:
            KeyError: if the profile has no such measure or step.
        """
        shape = len(self.meta.tasks), len(self.meta.layers)
        return curves.matrix(self.frame, self._find(measure, step), shape, column)

    def mean_curve(
        self,
        measure: str | None = None,
        step: int | None = None,
        *,
        confidence: float = 0.9,
        tasks: Iterable[str] | None = None,
        simultaneous: bool = False,
    ) -> pd.DataFrame:
        """Mean over tasks per layer with an interval over tasks: columns ``layer, value, low, high, tasks``.

        The interval says how far other tasks of this kind would put the curve. The clusters of the tasks are its
        independent units, with Student's t of as many less one; below 6 clusters tasks are, and it is then narrow.
        Undefined cells are left out, ``tasks`` counts those that remain; with fewer than two the interval is NaN.

        Args:
            measure: the headline by default.
            step: the last by default.
            confidence: nominal coverage.
            tasks: average these alone.
            simultaneous: whether the intervals are to hold at all layers at once, as statements about the whole curve
                need; by default each holds at its own layer.

        Raises:
            KeyError: for a measure, step or task that the profile does not have.
            ValueError: for a confidence outside (0, 1).
        """
        values, names = self.matrix(measure, step), self.tasks
        if tasks is not None:
            names = list(tasks)
            values = values[[self._position(task) for task in names]]
        clusters = [self.clusters[task] for task in names]
        return curves.mean_curve(values, self.layers, confidence, clusters, simultaneous=simultaneous)

    def cluster_curves(self, measure: str | None = None, step: int | None = None) -> dict[str, Floats]:
        """Mean curve ``(layers,)`` of each cluster, over its tasks with a defined value; NaN where none has one."""
        clusters = self.clusters
        return curves.cluster_means(self.matrix(measure, step), [clusters[task] for task in self.tasks])

    def at_step(self, step: int) -> LayerProfile:
        """The rows of one step.

        Raises:
            KeyError: if the step was not measured.
        """
        if step not in self.steps:
            raise KeyError(f"step {step} was not measured; measured were {self.steps}")
        return LayerProfile(self.frame[self.frame["step"] == step].reset_index(drop=True), self.meta)

    def to_pandas(self) -> pd.DataFrame:
        """A copy of the rows."""
        rows: pd.DataFrame = self.frame.copy()
        return rows

    def to_parquet(self, path: str | Path) -> Path:
        """Write rows and meta to one parquet file, whole or not at all; an existing file is replaced."""
        return storage.write(self.frame, self.meta, path)

    @classmethod
    def from_parquet(cls, path: str | Path) -> LayerProfile:
        """Read what :meth:`to_parquet` wrote, or the folder ``profile.parquet`` of a run, and verify it.

        Raises:
            FileNotFoundError: if there is no such file, or the folder holds none.
            ValueError: if a file is not a profile, or is damaged.
        """
        if not Path(path).is_dir():
            return cls(*storage.read(path))
        parts = sorted(part for part in Path(path).glob("*.parquet") if not part.name.startswith("."))
        if not parts:
            raise FileNotFoundError(f"expected a profile at {path}, got a folder without .parquet files")
        return cls.concat(cls.from_parquet(part) for part in parts)

    @classmethod
    def concat(cls, profiles: Iterable[LayerProfile]) -> LayerProfile:
        """Join profiles of one run (further steps, further measures, further tasks) into one.

        Profiles are of the same tasks, or have none in common. Digests that differ between tasks, where each has probes
        or a reference of its own, become one digest over theirs; warnings and notes of all are kept.

        Raises:
            ValueError: if they were not measured on the same layers and reference, or profiles of the same tasks not on
                the same examples, or if they share some tasks alone, or cells.
        """
        parts = list(profiles)
        if not parts:
            raise ValueError("expected at least one profile to join, got none")
        meta = merge_meta([part.meta for part in parts])
        return cls(pd.concat([part.frame for part in parts], ignore_index=True), meta)

    def diff(
        self, other: LayerProfile, *, measure: str | None = None, step: int | None = None, other_step: int | None = None
    ) -> ProfileDiff:
        """The other profile minus this one, per task and layer; over relative depth where the models differ in it.

        See :func:`lightning_layerscope.profiles.diff.diff_profiles`.
        """
        from lightning_layerscope.profiles.diff import diff_profiles

        return diff_profiles(self, other, measure=measure, step=step, other_step=other_step)

    @cached_property
    def _last_step(self) -> int:
        return self.steps[-1] if len(self) else 0

    def _find(self, measure: str | None, step: int | None) -> curves.Cells:
        name = measure or self.measure
        when = self._last_step if step is None else step
        if (name, when) in self._cells:
            return self._cells[name, when]
        cells = curves.find_cells(self.frame, name, when, self.tasks, self.layers)
        if not len(cells.rows):
            if name not in self.measures:
                raise KeyError(f"no measure {name!r} in this profile; it has {self.measures}")
            has = sorted(self.frame.loc[self.frame["measure"] == name, "step"].unique().tolist())
            raise KeyError(f"no rows of {name!r} at step {when}; it was measured at steps {has}")
        return self._cells.setdefault((name, when), cells)

    def _position(self, task: str) -> int:
        if task not in self.meta.tasks:
            raise KeyError(f"no task {task!r} in this profile; it has {self.tasks}")
        return self.tasks.index(task)
