"""Take a measurement: compare hidden states with a reference, and everything one step logs beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lightning_layerscope.comparison.task_by_task import StatesComparison
from lightning_layerscope.comparison.task_comparison import CompareOptions, TaskComparison
from lightning_layerscope.measurements.assembly import Floats, assemble
from lightning_layerscope.measurements.measurement import Measurement
from lightning_layerscope.profiles import LayerProfile
from lightning_layerscope.references import ReferenceBank, as_bank
from lightning_layerscope.transitions import find_transitions

if TYPE_CHECKING:
    from lightning_layerscope.extraction import HiddenStates

    Source = HiddenStates | Mapping[str, Tensor] | ReferenceBank


def take_measurement(
    states: Source,
    bank: Source,
    *,
    step: int,
    measure: str = "cka",
    estimator: str = "debiased",
    confidence: float = 0.9,
    robust: bool = True,
    diagnostics: bool = True,
    layer_matrix: bool = True,
    task_layers: Sequence[int] | None = None,
    groups: Mapping[str, Sequence[int]] | None = None,
    signal: str | None = None,
    resamples: int = 500,
    seed: int = 0,
) -> Measurement:
    """Measure hidden states against a reference: everything one step logs, with each Gram computed once.

    Args:
        states: The states of the current model.
        bank: The reference.
        step: Step of training.
        measure: The headline; see :func:`~lightning_layerscope.compare`.
        estimator: ``"debiased"`` or ``"biased"``, also of the layer matrix.
        confidence: Nominal coverage of all intervals.
        robust: Give ``cka_robust`` too.
        diagnostics: Give diagnostics too.
        layer_matrix: Give ``layer_x_layer``; costs about as much as the Grams.
        task_layers: Layers of ``task_x_task``; by default the first, the start of the transition (the middle layer
            where there is none) and the last. Needs states, not Grams, and at least two tasks.
        groups: Per task, which examples are near copies of each other; see :func:`~lightning_layerscope.compare`.
        signal: What the transition is of, in words; by default read from the profile.
        resamples: Bootstrap samples of the transition.
        seed: Seed of the transition's halvings and bootstrap.

    Raises:
        ValueError: What :func:`~lightning_layerscope.compare` raises, or for task layers that were not measured.
    """
    current = as_bank(states)
    options: dict[str, Any] = {"confidence": confidence, "robust": robust, "diagnostics": diagnostics, "groups": groups}
    profile, matrices = compare_with_layers(
        current, bank, layer_matrix=layer_matrix, step=step, measure=measure, estimator=estimator, **options
    )
    transition = find_transitions(profile, signal=signal, resamples=resamples, confidence=confidence, seed=seed)

    def task_mean(task: str, layer: int) -> tuple[Tensor, Tensor]:
        from lightning_layerscope.functional.task_similarity import mean_noise

        each = current.features(task)[current.layers.index(layer)]
        return each.float().mean(dim=0), mean_noise(each)

    known = None if current.kind == "gram" else task_mean
    return assemble(profile, transition, matrices, known, task_layers=task_layers)


def compare_with_layers(
    states: Source, bank: Source, *, layer_matrix: bool = True, estimator: str = "debiased", **options: Any
) -> tuple[LayerProfile, dict[str, Floats]]:
    """Compare, and keep of each task's Grams the CKA between all layers of the current model.

    Args:
        states: The states of the current model.
        bank: The reference.
        layer_matrix: Whether to compute the matrices.
        estimator: Estimator of both.
        options: Further ones, as :class:`~lightning_layerscope.comparison.task_comparison.CompareOptions` names them.

    Returns:
        The profile, and per task ``(layers, layers)``.
    """
    from lightning_layerscope.functional.cka import cka_layer_matrix

    comparison = StatesComparison(states, bank, CompareOptions(estimator=estimator, **options))
    parts: list[TaskComparison] = []
    matrices: dict[str, Floats] = {}
    for task in comparison.tasks:
        part, grams = comparison.compare_task(task, with_grams=layer_matrix)
        parts.append(part)
        if layer_matrix and grams is not None:
            matrices[task] = cka_layer_matrix(grams, grams, estimator).double().cpu().numpy()
    return comparison.profile(parts), matrices
