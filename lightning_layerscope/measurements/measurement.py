"""One measurement of a run: profile, transition and the matrices behind the heatmaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_layerscope.comparison import compare
from lightning_layerscope.functional.gram_statistics import GramStatistics
from lightning_layerscope.profiles import LayerProfile
from lightning_layerscope.references import ReferenceBank, as_bank
from lightning_layerscope.transitions import Transition, find_transitions

if TYPE_CHECKING:
    from lightning_layerscope.extraction import HiddenStates

Floats = NDArray[np.float64]


@dataclass
class Measurement:
    """What was measured at one step.

    Attributes:
        step: of training.
        profile: the rows of this step.
        transition: where its curve changes, or none.
        layer_x_layer: ``(layers, layers)``, mean over tasks of the CKA between all layers of the current model;
            ``None`` where not asked for.
        task_x_task: per chosen layer ``(tasks, tasks)``: cosine of the task means after removing the grand mean.
        seconds: wall time the measurement took; filled by who measures.
        overhead: share of the run's wall time that all measurements took so far, NaN before the first step; filled by
            who measures.
        warnings: in words.
    """

    step: int
    profile: LayerProfile
    transition: Transition
    layer_x_layer: Floats | None = None
    task_x_task: dict[int, Floats] = field(default_factory=dict)
    seconds: float = 0.0
    overhead: float = 0.0
    warnings: list[str] = field(default_factory=list)

    @cached_property
    def task_mean(self) -> Floats:
        """``(layers,)`` mean over tasks of the headline measure; NaN where no task has a value. Computed once."""
        return self.profile.mean_curve()["value"].to_numpy(dtype=np.float64)


def take_measurement(
    states: HiddenStates | Mapping[str, Tensor] | ReferenceBank,
    bank: ReferenceBank | HiddenStates | Mapping[str, Tensor],
    *,
    step: int,
    measure: str = "cka",
    estimator: str = "debiased",
    confidence: float = 0.9,
    robust: bool = True,
    diagnostics: bool = True,
    layer_matrix: bool = True,
    task_layers: Sequence[int] | None = None,
    signal: str | None = None,
    resamples: int = 500,
    seed: int = 0,
) -> Measurement:
    """Measure hidden states against a reference: everything one step logs, with each Gram computed once.

    Args:
        states: of the current model.
        bank: the reference.
        step: of training.
        measure: headline; see :func:`~lightning_layerscope.compare`.
        estimator: ``"debiased"`` or ``"biased"``, also of the layer matrix.
        confidence: nominal coverage of all intervals.
        robust: give ``cka_robust`` too.
        diagnostics: give diagnostics too.
        layer_matrix: give ``layer_x_layer``; costs about as much as the Grams.
        task_layers: layers of ``task_x_task``; by default the first, the start of the transition (the middle layer
            where there is none) and the last. Needs states, not Grams, and at least two tasks.
        signal: what the transition is of, in words; by default read from the profile.
        resamples: bootstrap samples of the transition.
        seed: of the transition's halvings and bootstrap.

    Raises:
        ValueError: what :func:`~lightning_layerscope.compare` raises, or for task layers that were not measured.
    """
    from lightning_layerscope.functional.cka import cka_layer_matrix

    current = as_bank(states)
    matrices: list[Tensor] = []

    def visit(_: str, grams: GramStatistics) -> None:
        matrices.append(cka_layer_matrix(grams, grams, estimator).double().cpu())

    profile = compare(
        current,
        bank,
        measure=measure,
        estimator=estimator,
        step=step,
        confidence=confidence,
        robust=robust,
        diagnostics=diagnostics,
        visit=visit if layer_matrix else None,
    )
    transition = find_transitions(profile, signal=signal, resamples=resamples, confidence=confidence, seed=seed)
    return Measurement(
        step=step,
        profile=profile,
        transition=transition,
        layer_x_layer=torch.stack(matrices).nanmean(dim=0).numpy() if matrices else None,
        task_x_task=_task_matrices(current, profile, transition, task_layers),
        warnings=list(profile.meta["warnings"]),
    )


def _task_matrices(
    current: ReferenceBank, profile: LayerProfile, transition: Transition, layers: Sequence[int] | None
) -> dict[int, Floats]:
    if current.kind == "gram":
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
    from lightning_layerscope.functional.task_similarity import mean_noise, task_mean_cosine

    found = {}
    for layer in layers:
        position = current.layers.index(layer)
        states = [current.features(task)[position] for task in profile.tasks]
        means = torch.stack([each.float().mean(dim=0) for each in states])
        noise = torch.stack([mean_noise(each) for each in states])
        found[int(layer)] = task_mean_cosine(means, noise).cpu().numpy()
    return found
