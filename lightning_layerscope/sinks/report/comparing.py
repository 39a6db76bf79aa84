"""Which runs of a report can be subtracted from each other, and what their difference is in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lightning_layerscope.charts.words import measure_name, step_name
from lightning_layerscope.profiles.diff import ProfileDiff, diff_profiles

if TYPE_CHECKING:
    from lightning_layerscope.measurements import RunRecord
    from lightning_layerscope.profiles import LayerProfile


@dataclass(frozen=True)
class Pair:
    """Two runs of a report: the second minus the first.

    Attributes:
        first: Its number among the runs.
        second: Its number among the runs.
        reason: Why they cannot be subtracted; ``""`` where they can.
        words: What the difference of their last measurements is, or the reason.
        card: Name, figure and small print; ``None`` without a difference.
    """

    first: int
    second: int
    reason: str
    words: str
    card: tuple[str, str, str] | None


def pairs(records: Mapping[str, RunRecord]) -> list[Pair]:
    """Every run against the first, at their last measurements."""
    names, profiles = list(records), [record.measurements[-1].profile for record in records.values()]
    found = []
    for second in range(1, len(names)):
        minus = f"{names[second]} minus {names[0]}"
        try:
            difference = diff_profiles(profiles[0], profiles[second])
        except ValueError as error:
            found.append(Pair(0, second, str(error), f"{minus} cannot be given: {error}.", None))
            continue
        when = _when(profiles[0], profiles[second])
        words = f"{minus}{when}: {difference.describe()}"
        found.append(Pair(0, second, "", words, _card(difference, minus)))
    return found


def _when(first: LayerProfile, second: LayerProfile) -> str:
    one, two = (step_name(profile, profile.steps[-1]) for profile in (first, second))
    if one == two:
        return f" at {one}" if one else ""
    return f" ({two or 'its only measurement'} minus {one or 'its only measurement'})"


def _card(difference: ProfileDiff, minus: str) -> tuple[str, str, str] | None:
    # The layer was chosen from all of them, so its interval has to hold for all of them.
    curve = difference.mean_curve(simultaneous=True)
    values = curve["value"].to_numpy(dtype=np.float64)
    if not np.isfinite(values).any():
        return None
    top = curve.iloc[int(np.nanargmax(np.abs(values)))]
    where = f"at depth {top['depth']:.2f}" if difference.by_depth else f"at layer {int(top['layer'])}"
    band = f"; 90 % band over tasks {top['low']:+.3f} to {top['high']:+.3f}" if np.isfinite(top["low"]) else ""
    return (
        minus,
        f"{top['value']:+.3f}",
        f"largest mean difference in {measure_name(difference.measure)}, {where}{band}",
    )
