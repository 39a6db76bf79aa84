"""From a profile or an array to a complete matrix of curves, with a statement of everything that was left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lightning_layerscope.profiles import LayerProfile
    from lightning_layerscope.transitions.shapes import Floats


def signal_name(profile: LayerProfile, measure: str) -> str:
    """What a profile's curve is: the drift from a run's own reference, or one model against another.

    A run's own references are ``initial`` and ``base``; any other name is another model or an earlier checkpoint.
    """
    reference = profile.meta.reference
    if reference in ("initial", "base"):
        return f"drift from {reference} ({measure})"
    model = profile.meta.model_name or "model"
    return f"{model} against {reference or 'reference'} ({measure})"


MOST_MISSING = 0.5
"""Layers, then tasks, with a larger share of undefined cells are left out; other undefined cells are filled in."""

ALTERNATIONS = 5
"""Between mean curve and tasks' levels; further ones change nothing that is seen."""


@dataclass(frozen=True)
class CompleteCurves:
    """Curves without undefined cells.

    Attributes:
        values: ``(kept tasks, kept layers)``.
        layers: Numbers of the kept layers.
        tasks: ``(tasks,)``, which rows were kept.
        notes: What was left out or filled in, in words.
    """

    values: Floats
    layers: tuple[int, ...]
    tasks: NDArray[np.bool_]
    notes: tuple[str, ...]


def complete_curves(values: Any, layers: Sequence[int]) -> CompleteCurves:
    """Leave out layers that hardly any task has, then tasks that hardly have a layer; fill in single cells.

    Embeddings (layer 0) are no decoder block and are left out.

    Args:
        values: ``(tasks, layers)``, NaN where undefined.
        layers: Their numbers, increasing.

    Raises:
        ValueError: If the matrix is not two-dimensional, does not fit ``layers``, holds infinities, or ``layers`` do
            not increase.
    """
    matrix = np.asarray(values, dtype=np.float64)
    numbers = tuple(int(layer) for layer in layers)
    if matrix.ndim != 2 or matrix.shape[1] != len(numbers):
        raise ValueError(
            f"expected curves of shape (tasks, layers) with {len(numbers)} layers, got {matrix.shape}; "
            "pass one row per task and one column per layer"
        )
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        raise ValueError(f"expected increasing layer numbers, got {list(numbers)}; sort the columns by layer")
    if np.isinf(matrix).any():
        row, column = np.argwhere(np.isinf(matrix))[0]
        raise ValueError(f"expected finite values or NaN, got an infinite one for row {row} at layer {numbers[column]}")
    notes: list[str] = []
    kept = np.asarray([number > 0 for number in numbers], dtype=bool)
    undefined = np.isnan(matrix)
    scarce = kept & (undefined.mean(axis=0) > MOST_MISSING) if len(matrix) else np.zeros_like(kept)
    if scarce.any():
        names = ", ".join(str(number) for number, drop in zip(numbers, scarce, strict=True) if drop)
        notes.append(f"layers {names} left out: undefined for more than half of the tasks")
        kept &= ~scarce
    matrix = matrix[:, kept]
    layers_kept = tuple(number for number, keep in zip(numbers, kept, strict=True) if keep)
    rows = np.isnan(matrix).mean(axis=1) <= MOST_MISSING if matrix.shape[1] else np.zeros(len(matrix), dtype=bool)
    if not rows.all():
        notes.append(f"{int((~rows).sum())} of {len(rows)} tasks left out: undefined at more than half of the layers")
    matrix = matrix[rows]
    if np.isnan(matrix).any():
        notes.append(f"{int(np.isnan(matrix).sum())} of {matrix.size} cells filled in from their neighbouring layers")
        matrix = _filled(matrix, np.asarray(layers_kept, dtype=np.float64))
    return CompleteCurves(matrix, layers_kept, rows, tuple(notes))


def _filled(matrix: Floats, positions: Floats) -> Floats:
    """Undefined cells as the mean curve plus the task's own distance from it, interpolated over layers.

    A mean over changing sets of tasks would have steps of its own, so the mean curve and the tasks' levels are fitted
    together first.
    """
    level = np.zeros((len(matrix), 1))
    for _ in range(ALTERNATIONS):
        mean = np.nanmean(matrix - level, axis=0)
        level = np.nanmean(matrix - mean, axis=1, keepdims=True)
    apart = matrix - mean
    filled: Floats = matrix.copy()
    for row, known in enumerate(~np.isnan(matrix)):
        filled[row, ~known] = mean[~known] + np.interp(positions[~known], positions[known], apart[row, known])
    return filled
