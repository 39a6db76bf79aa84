"""From rows and matrices of every task to one measurement, whoever has made them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_layerscope.measurements.measurement import Measurement
from lightning_layerscope.profiles import LayerProfile
from lightning_layerscope.transitions import Transition, find_signals

Floats = NDArray[np.float64]
TaskMean = Callable[[str, int], tuple[Tensor, Tensor]]
"""Gives the mean state ``(width,)`` float32 over one task's examples at one layer, by the layer's number, and the
squared standard error ``()`` of that mean."""


def assemble(
    profile: LayerProfile,
    transition: Transition,
    layer_matrices: Mapping[str, Floats],
    task_mean: TaskMean | None,
    *,
    task_layers: Sequence[int] | None = None,
) -> Measurement:
    """Put together what one step logs.

    Args:
        profile: The rows of this step, of all tasks.
        transition: Where its curve changes.
        layer_matrices: Per task ``(layers, layers)``, CKA between all layers of the current model; empty where not
            asked for.
        task_mean: Gives the tasks' means; None where only Grams are known.
        task_layers: Layers of ``task_x_task``; by default the first, the start of the transition (the middle layer
            where there is none) and the last.

    Raises:
        ValueError: For task layers that were not measured, or without means.
    """
    stacked = [layer_matrices[task] for task in profile.tasks if task in layer_matrices]
    return Measurement(
        step=profile.steps[0],
        profile=profile,
        transition=transition,
        layer_x_layer=torch.from_numpy(np.stack(stacked)).nanmean(dim=0).numpy() if stacked else None,
        task_x_task=_task_matrices(profile, transition, task_mean, task_layers),
        warnings=list(profile.meta.warnings),
        signals=find_signals(
            profile, neighbours=_neighbours(profile, layer_matrices), confidence=transition.confidence
        ),
    )


def _neighbours(profile: LayerProfile, layer_matrices: Mapping[str, Floats]) -> Floats | None:
    """Similarity of each layer with the measured one before, ``(tasks, layers)``; None where not every task has it."""
    if any(task not in layer_matrices for task in profile.tasks):
        return None
    beside = np.stack([np.diagonal(layer_matrices[task], offset=1) for task in profile.tasks])
    return np.concatenate([np.full((len(beside), 1), np.nan), beside], axis=1)


def _task_matrices(
    profile: LayerProfile, transition: Transition, task_mean: TaskMean | None, layers: Sequence[int] | None
) -> dict[int, Floats]:
    """Per chosen layer ``(tasks, tasks)``: cosine of the task means after removing the grand mean."""
    if task_mean is None:
        if layers is not None:
            raise ValueError(
                "expected hidden states where `task_layers` is given, got Gram matrices, which lost the means"
            )
        return {}
    if len(profile.tasks) < 2:
        return {}
    measured = profile.layers
    if layers is None:
        middle = measured[len(measured) // 2] if transition.start is None else transition.start
        layers = sorted({measured[0], middle, measured[-1]})
    absent = [layer for layer in layers if layer not in measured]
    if absent:
        raise ValueError(f"expected task layers among those measured ({measured}), got {absent}")
    from lightning_layerscope.functional.task_similarity import task_mean_cosine

    matrices = {}
    for layer in layers:
        means, noise = zip(*(task_mean(task, layer) for task in profile.tasks), strict=True)
        matrices[int(layer)] = task_mean_cosine(torch.stack(means), torch.stack(noise)).cpu().numpy()
    return matrices
