"""From a profile or an array to a complete matrix of curves, with a statement of everything that was left out."""

from __future__ import annotations

from collections.abc import Sequence
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
    reference = str(profile.meta.get("reference") or "")
    if reference in ("initial", "base"):
        return f"drift from {reference} ({measure})"
    model = str(profile.meta.get("model_name") or "") or "model"
    return f"{model} against {reference or 'reference'} ({measure})"


def complete_curves(values: Any, layers: Sequence[int]) -> tuple[Floats, tuple[int, ...], tuple[str, ...]]:
    """Leave out what is undefined: first layers that hardly any task has, then tasks that still lack a value.

    A mean over changing sets of tasks would have steps of its own, so a curve is averaged over the same tasks at every
    layer. Embeddings (layer 0) are no decoder block and are left out.

    Args:
        values: ``(tasks, layers)``, NaN where undefined.
        layers: their numbers, increasing.

    Returns:
        The complete matrix ``(kept tasks, kept layers)``, the layers kept, and what was left out in words.

    Raises:
        ValueError: if the matrix is not two-dimensional, does not fit ``layers``, holds infinities, or ``layers`` do
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
    scarce = kept & (undefined.mean(axis=0) > 0.5) if len(matrix) else np.zeros_like(kept)
    if scarce.any():
        names = ", ".join(str(number) for number, drop in zip(numbers, scarce, strict=True) if drop)
        notes.append(f"layers {names} left out: undefined for more than half of the tasks")
        kept &= ~scarce
    matrix = matrix[:, kept]
    whole: NDArray[np.bool_] = ~np.asarray(np.isnan(matrix).any(axis=1))
    if not whole.all():
        notes.append(f"{int((~whole).sum())} of {len(whole)} tasks left out: undefined at some layer")
    return matrix[whole], tuple(n for n, keep in zip(numbers, kept, strict=True) if keep), tuple(notes)
