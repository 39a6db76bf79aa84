"""Two profiles, compared layer by layer, or over relative depth where their models differ in depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lightning_layerscope.notebook import card, charts
from lightning_layerscope.profiles.curves import Floats, mean_curve
from lightning_layerscope.wording import count

if TYPE_CHECKING:
    import altair as alt

    from lightning_layerscope.profiles.meta import ProfileMeta
    from lightning_layerscope.profiles.profile import LayerProfile


@dataclass(frozen=True)
class ProfileDiff:
    """The second profile minus the first.

    Attributes:
        frame: Rows ``layer, depth, task, cluster, first, second, delta, low, high, reason``. ``depth`` is layer /
            number of layers; ``layer`` is the first profile's, or -1 where the points are the second's depths. ``low``
            and ``high`` combine both intervals as if independent: wide where both saw the same examples, as here they
            did.
        measure: What was compared.
        by_depth: Whether the comparison is over relative depth.
        meta: The meta of both profiles, under ``first`` and ``second``.
    """

    frame: pd.DataFrame
    measure: str
    by_depth: bool
    meta: dict[str, ProfileMeta]

    def matrix(self, column: str = "delta") -> Floats:
        """One column as ``(tasks, points)``, tasks in the profiles' order, points by increasing depth."""
        tasks = self.meta["first"].tasks
        return np.asarray(self.frame[column].to_numpy(), dtype=np.float64).reshape(len(tasks), -1)

    def mean_curve(self, confidence: float = 0.9, *, simultaneous: bool = False) -> pd.DataFrame:
        """Mean difference per point, interval over tasks: columns ``layer, value, low, high, tasks, depth``.

        See :meth:`~lightning_layerscope.LayerProfile.mean_curve`.
        """
        tasks = self.meta["first"].tasks
        points = len(self.frame) // len(tasks)
        clusters = [self.meta["first"].clusters[task] for task in tasks]
        layers = self.frame["layer"].iloc[:points].tolist()
        curve = mean_curve(self.matrix(), layers, confidence, clusters, simultaneous=simultaneous)
        curve["depth"] = self.frame["depth"].to_numpy()[:points]
        return curve

    def plot(self) -> alt.LayerChart:
        """Layer x task as a chart, two colours that meet where nothing differs."""
        return charts().heatmap_difference(self)

    def _repr_html_(self) -> str:
        """What a notebook shows: where the mean difference is largest."""
        return card(f"ProfileDiff: {self.measure}, second minus first", [self.describe()])

    def to_pandas(self) -> pd.DataFrame:
        """A copy of the rows."""
        rows: pd.DataFrame = self.frame.copy()
        return rows

    def describe(self) -> str:
        """One sentence: where the mean difference is largest, with its interval."""
        # The layer was chosen from all of them, so its interval has to hold for all of them.
        curve = self.mean_curve(simultaneous=True)
        if curve["value"].isna().all():
            return f"No difference in {self.measure} can be given: it is undefined everywhere."
        top = curve.iloc[int(np.nanargmax(curve["value"].abs().to_numpy()))]
        if top["value"] == 0:
            return (
                f"The mean over {count(int(top['tasks']), 'task')} of the difference in {self.measure} is 0 everywhere."
            )
        where = f"depth {top['depth']:.2f}" if self.by_depth else f"layer {int(top['layer'])}"
        band = f" (90 % band over tasks {top['low']:+.3f} to {top['high']:+.3f})" if np.isfinite(top["low"]) else ""
        return (
            f"Mean over {count(int(top['tasks']), 'task')} of the difference in {self.measure} is largest at {where}: "
            f"{top['value']:+.3f}{band}."
        )


def diff_profiles(
    first: LayerProfile,
    second: LayerProfile,
    *,
    measure: str | None = None,
    step: int | None = None,
    other_step: int | None = None,
) -> ProfileDiff:
    """The second profile minus the first, per task and layer.

    Models with the same number of layers are compared layer by layer. Otherwise each task's curve of the model with
    more measured layers is interpolated linearly at the relative depths l / L of the other's; depths outside its
    measured range are NaN.

    Args:
        first: Subtracted.
        second: Subtracted from.
        measure: The headline by default, which must then be the same in both.
        step: Step of the first; its last by default.
        other_step: Step of the second; its last by default.

    Raises:
        ValueError: If the profiles were not measured on the same examples or tasks, their headline measures differ, or
            models of one depth were measured at different layers.
        KeyError: If a measure or step is not there.
    """
    name = measure or first.measure
    if measure is None and (second.measure, second.meta.estimator) != (first.measure, first.meta.estimator):
        raise ValueError(
            f"expected one headline measure, got {first.measure} ({first.meta.estimator}) and {second.measure} "
            f"({second.meta.estimator}); name the one to compare with `measure=`, or measure both alike"
        )
    if first.meta.examples_digest != second.meta.examples_digest:
        raise ValueError(
            "expected profiles of the same examples, got the digests "
            f"{first.meta.examples_digest[:16] or 'none'} and {second.meta.examples_digest[:16] or 'none'}; "
            "measure both with the same tasks, split, seed and examples_per_task (or one saved ProbeSet)"
        )
    if set(first.tasks) != set(second.tasks):
        odd = sorted(set(first.tasks) ^ set(second.tasks))
        raise ValueError(f"expected the same tasks, got {odd[:5]} in one profile only; measure both on the same tasks")
    by_depth = first.num_layers != second.num_layers
    if not by_depth and first.layers != second.layers:
        odd_layers = sorted(set(first.layers) ^ set(second.layers))
        raise ValueError(f"expected the same layers of models of one depth, got {odd_layers} in one profile only")
    depths = [np.asarray(profile.layers) / profile.num_layers for profile in (first, second)]
    coarse = int(len(depths[1]) < len(depths[0]))
    grid = depths[coarse]
    order = [second.tasks.index(task) for task in first.tasks]
    sides = []
    for profile, depth, when, rows in zip(
        (first, second), depths, (step, other_step), (list(range(len(order))), order), strict=True
    ):
        columns = {}
        for column in ("value", "low", "high"):
            values = profile.matrix(name, when, column=column)[rows]
            columns[column] = _at_depths(values, depth, grid) if by_depth else values
        sides.append(columns)
    frame = _rows(first, sides[0], sides[1], grid, by_depth and coarse == 1)
    return ProfileDiff(frame, name, by_depth, {"first": first.meta, "second": second.meta})


def _at_depths(values: Floats, depth: Floats, grid: Floats) -> Floats:
    return np.stack([np.interp(grid, depth, row, left=np.nan, right=np.nan) for row in values])


def _rows(
    first: LayerProfile, one: dict[str, Floats], two: dict[str, Floats], grid: Floats, foreign_grid: bool
) -> pd.DataFrame:
    delta = two["value"] - one["value"]
    below = np.hypot(two["value"] - two["low"], one["high"] - one["value"])
    above = np.hypot(two["high"] - two["value"], one["value"] - one["low"])
    points = len(grid)
    layers = [-1] * points if foreign_grid else first.layers
    missing = np.isnan(one["value"]).astype(int) + 2 * np.isnan(two["value"]).astype(int)
    words = np.asarray(["", "undefined in the first", "undefined in the second", "undefined in both"])
    frame: pd.DataFrame = pd.DataFrame(
        {
            "layer": np.tile(layers, len(first.tasks)),
            "depth": np.tile(grid, len(first.tasks)),
            "task": np.repeat(first.tasks, points),
            "cluster": np.repeat([first.clusters[task] for task in first.tasks], points),
            "first": one["value"].ravel(),
            "second": two["value"].ravel(),
            "delta": delta.ravel(),
            "low": (delta - below).ravel(),
            "high": (delta + above).ravel(),
            "reason": words[missing].ravel(),
        }
    )
    return frame
