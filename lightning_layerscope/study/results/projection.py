"""Figure 4: hidden states of all tasks in a plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lightning_layerscope._extras import require

Array = np.ndarray[Any, np.dtype[np.float64]]
PER_TASK = 16


def layers_to_map(layers: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """The wanted layers, or first, a third, middle, two thirds and last.

    Raises:
        ValueError: For a layer that was not measured.
    """
    unknown = sorted(set(wanted) - set(layers))
    if unknown:
        raise ValueError(f"map_layers names layers that are not there: {unknown}; the layers are {list(layers)}")
    last = len(layers) - 1
    return list(wanted) or sorted({layers[round(last * share)] for share in (0, 1 / 3, 0.5, 2 / 3, 1)})


def plane(samples: Mapping[str, Array], position: int, *, method: str, seed: int = 0) -> Array:
    """Coordinates of a few prompts of every task.

    Args:
        samples: Task to states (layers, prompts, width).
        position: Position of the layer on the first axis.
        method: ``"PCA"`` or ``"t-SNE"`` (after a PCA to at most 50 dimensions).
        seed: Seed of t-SNE.

    Returns:
        (prompts, 2), tasks one after the other with :data:`PER_TASK` prompts each (fewer where there are fewer).
    """
    x = np.concatenate([np.asarray(states[position, :PER_TASK], dtype=float) for states in samples.values()])
    decomposition = require("sklearn.decomposition", extra="study")
    x = x - x.mean(axis=0)
    if method == "PCA":
        return np.asarray(decomposition.PCA(2, svd_solver="full").fit_transform(x))
    manifold = require("sklearn.manifold", extra="study")
    x = decomposition.PCA(min(50, *x.shape), svd_solver="full").fit_transform(x)
    perplexity = min(30.0, (len(x) - 1) / 3)
    return np.asarray(manifold.TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(x))


def tasks_of(samples: Mapping[str, Array]) -> list[str]:
    """The task of each point that :func:`plane` gives."""
    return [task for task, states in samples.items() for _ in range(min(PER_TASK, states.shape[1]))]
