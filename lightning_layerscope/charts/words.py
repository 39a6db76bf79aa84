"""Names and numbers as people read them, and which tasks stand beside which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lightning_layerscope.wording import count

if TYPE_CHECKING:
    from lightning_layerscope.profiles import LayerProfile
    from lightning_layerscope.transitions import Transition

Floats = NDArray[np.float64]

_MEASURES = {"cka": "CKA", "svcca": "SVCCA", "rsa": "RSA", "rbf_cka": "RBF CKA", "mutual_knn": "mutual k-NN"}
_RANGES: dict[str, tuple[float, float]] = {"rsa": (-1.0, 1.0)}
_FLOORS = (0.99, 0.95, 0.9, 0.8, 0.5, 0.0)


def clean(text: str, limit: int = 60) -> str:
    r"""One printable line of at most ``limit`` characters, shortened in the middle.

    Examples:
        >>> clean("a\nb"), clean("x" * 100, 9)
        ('a b', 'xxxx…xxxx')
    """
    line = "".join(character if character.isprintable() else " " for character in str(text))
    if len(line) <= limit:
        return line
    half = (limit - 1) // 2
    return f"{line[:half]}…{line[-half:]}"


def measure_name(measure: str) -> str:
    """How a measure is called in titles.

    Examples:
        >>> measure_name("cka"), measure_name("task_separability")
        ('CKA', 'task separability')
    """
    return _MEASURES.get(measure, clean(measure.replace("_", " ")))


def step_name(profile: LayerProfile, step: int | None) -> str:
    """``step 1,200``; empty without a step, and where two checkpoints are compared, which has none.

    Such a profile has the single step 0, against another reference than a run's own beginning.
    """
    if step is None or (profile.steps == [0] and profile.meta.reference != "initial"):
        return ""
    return f"step {step:,}"


def chosen_steps(steps: Sequence[int]) -> list[int]:
    """The first, the previous and the current of the measured steps, each once.

    Examples:
        >>> chosen_steps([0, 10, 20, 30]), chosen_steps([0, 10]), chosen_steps([0])
        ([0, 20, 30], [0, 10], [0])
    """
    return list(dict.fromkeys([steps[0], *steps[-2:]]))


def context(profile: LayerProfile, measure: str, step: int | None = None) -> str:
    """The second line of a title: step, estimator, reference, number of tasks."""
    rows = profile.frame[profile.frame["measure"] == measure]
    estimator = str(rows["estimator"].iloc[0]) if len(rows) else ""
    reference = profile.meta.reference
    parts = [step_name(profile, step), estimator]
    parts += [f"against {clean(reference, 32)}" if reference else "", count(len(profile.tasks), "task")]
    return " · ".join(part for part in parts if part)


def limits(measure: str, values: Any) -> tuple[float, float]:
    """Range of the colour scale: fixed per measure, 0 to 1 for a similarity, so that pictures can be compared.

    Measures that are no similarity (numbers of components, say) span their own values. Debiased estimates may lie a
    little below 0: they keep the lowest colour, and a note says so.
    """
    defined = _defined(values)
    if measure in _RANGES:
        return _RANGES[measure]
    if defined.size and defined.max() > 1.5:
        return float(min(defined.min(), 0.0)), float(defined.max())
    return 0.0, 1.0


def axis_limits(measure: str, values: Any) -> tuple[float, float]:
    """Range of a curve's axis: up to 1, and down to the highest of a few round floors that hides no value.

    Examples:
        >>> axis_limits("cka", [0.97, 1.0])
        (0.95, 1.0015)
    """
    defined = _defined(values)
    low, high = limits(measure, defined)
    if (low, high) != (0.0, 1.0) or not defined.size:
        return low - 0.03 * (high - low), high + 0.03 * (high - low)
    least = float(defined.min())
    floor = next((value for value in _FLOORS if least >= value), float(np.floor(least * 10) / 10))
    top = max(1.0, float(defined.max()))
    return floor, top + 0.03 * (top - floor)


def beyond(values: Any, low: float, high: float) -> list[str]:
    """Says that values lie beyond the colours, which they keep the last of; nothing where none does.

    Examples:
        >>> beyond([-0.04, 0.5], 0.0, 1.0)
        ['values below 0 have the colour of 0']
    """
    defined = _defined(values)
    ends = [("below", low, defined < low - 1e-6), ("above", high, defined > high + 1e-6)]
    return [f"values {side} {end:g} have the colour of {end:g}" for side, end, there in ends if there.any()]


def cut_line(transition: Transition | None, *, whole: bool = False) -> list[str]:
    """The parts of the layers in one line, or that there are none; nothing where it was not asked.

    Args:
        transition: What was found.
        whole: Whether to say how well both ends are known, or why there are none.
    """
    if transition is None:
        return []
    if not transition.found:
        return [f"no {transition.kind} found" + (f": {clean(transition.reason, 90)}" if whole else "")]
    named = (
        ("shared", transition.shared),
        (transition.kind, transition.transition),
        ("refinement", transition.refinement),
    )
    parts = [f"{name} {_span(layers)}" for name, layers in named if layers]
    if whole and transition.start_interval and transition.end_interval:
        ends = f"starts at {_span(transition.start_interval)}, ends at {_span(transition.end_interval)}"
        parts.append(f"{ends} ({transition.confidence:.0%} intervals)")
    return [" · ".join(parts)]


def _span(layers: Sequence[int]) -> str:
    return str(layers[0]) if layers[0] == layers[-1] else f"{layers[0]}-{layers[-1]}"


@dataclass(frozen=True)
class Grouping:
    """Tasks in the order of their clusters.

    Attributes:
        order: Position of each row's task in the given list.
        tasks: Names in that order.
        spans: Cluster, first row, number of rows.
    """

    order: tuple[int, ...]
    tasks: tuple[str, ...]
    spans: tuple[tuple[str, int, int], ...]


def group(tasks: Sequence[str], clusters: Mapping[str, str]) -> Grouping:
    """Put the tasks of a cluster beside each other; clusters keep the order of their first task.

    Examples:
        >>> group(["a", "b", "c"], {"a": "x", "b": "y", "c": "x"}).spans
        (('x', 0, 2), ('y', 2, 1))
    """
    members: dict[str, list[int]] = {}
    for position, task in enumerate(tasks):
        members.setdefault(clusters[task], []).append(position)
    order = [position for positions in members.values() for position in positions]
    spans, row = [], 0
    for cluster, positions in members.items():
        spans.append((clean(cluster, 44), row, len(positions)))
        row += len(positions)
    return Grouping(tuple(order), tuple(clean(tasks[position], 44) for position in order), tuple(spans))


def _defined(values: Any) -> Floats:
    array = np.asarray(values, dtype=np.float64).ravel()
    return array[np.isfinite(array)]
