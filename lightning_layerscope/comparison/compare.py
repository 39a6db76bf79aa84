"""Compare hidden states with a reference, task by task and layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from lightning_layerscope.comparison.task_by_task import StatesComparison
from lightning_layerscope.comparison.task_comparison import CompareOptions
from lightning_layerscope.profiles import LayerProfile
from lightning_layerscope.references import ReferenceBank

if TYPE_CHECKING:
    from lightning_layerscope.extraction import HiddenStates

    Source = HiddenStates | Mapping[str, Tensor] | ReferenceBank


def compare(
    states: Source,
    bank: Source,
    *,
    measure: str = "cka",
    estimator: str = "debiased",
    step: int = 0,
    confidence: float = 0.9,
    robust: bool = True,
    diagnostics: bool = True,
    tasks: Iterable[str] | None = None,
    layers: Sequence[int] | None = None,
    groups: Mapping[str, Sequence[int]] | None = None,
) -> LayerProfile:
    """Similarity of hidden states to a reference, per task and layer.

    The profile holds the headline measure with its interval over examples, beside linear CKA its value on robustly
    transformed states (``cka_robust``), and diagnostics of the states (``participation_ratio``,
    ``effective_directions``, ``top_dimension_share``, ``top_component_share``, ``components_99``, ``rounding_share``),
    with warnings in words in ``profile.meta.warnings`` and what could not be checked or given in
    ``profile.meta.notes``. What is undefined is NaN with its reason.

    Args:
        states: The model measured: hidden states per task ``(layers, examples, width)``, or a bank.
        bank: The reference, of the same prompts; widths may differ, the number of layers may not.
        measure: ``"cka"``, ``"rbf_cka"``, ``"svcca"``, ``"procrustes_similarity"``, ``"procrustes_distance"``,
            ``"rsa"``, ``"mutual_knn"`` or ``"linear_predictivity"`` (of the reference from the states). All are
            invariant to rotation, so a bank of Grams serves them; where both sides hold states, these are used.
        estimator: Estimator of ``cka`` and ``rbf_cka``: ``"debiased"``, or the paper's ``"biased"``.
        step: Step of training, recorded in the rows.
        confidence: Nominal coverage of the intervals: closed-form jackknife for CKA, a jackknife over 20 groups of
            examples for the others.
        robust: Give ``cka_robust`` beside ``cka``.
        diagnostics: Give diagnostics of ``states``.
        tasks: Compare these alone; by default both sides must have the same.
        layers: Compare these alone; by default those of ``states``, all of which the bank must have.
        groups: Per task a number for each example: those of one number are near copies, and no independent examples.
            CKA then counts each group once, and intervals leave out groups whole; the estimator must be debiased.
            Other measures keep their value. Tasks that are not named are taken as they are.

    Raises:
        ValueError: If tasks, examples (row by row), layers, depth or tokenisation do not fit, with the way out; or for
            an unknown measure or estimator; or for groups of other tasks or numbers of examples.

    Examples:
        >>> import torch
        >>> x = torch.randn(3, 32, 8, generator=torch.Generator().manual_seed(0))
        >>> profile = compare({"sst2": x}, {"sst2": 2 * x})
        >>> profile.matrix().round(6)
        array([[1., 1., 1.]])
    """
    options = CompareOptions(measure, estimator, step, confidence, robust, diagnostics, groups)
    comparison = StatesComparison(states, bank, options, tasks=tasks, layers=layers)
    return comparison.profile([comparison.compare_task(task)[0] for task in comparison.tasks])
