"""Compare hidden states with a reference, task by task and layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lightning_layerscope.comparison.alignment import Alignment, align
from lightning_layerscope.comparison.measures import (
    Cells,
    Method,
    check_measure,
    estimator_name,
    gram_root,
    measure_cka,
    measure_features,
)
from lightning_layerscope.comparison.spectra import Spectra, spectra, warn_in_words
from lightning_layerscope.functional._groups import group_positions
from lightning_layerscope.functional.gram_statistics import GramStatistics, prepare_gram
from lightning_layerscope.profiles import LayerProfile
from lightning_layerscope.references import ReferenceBank, as_bank

if TYPE_CHECKING:
    from lightning_layerscope.extraction import HiddenStates

    Source = HiddenStates | Mapping[str, Tensor] | ReferenceBank

Visit = Callable[[str, GramStatistics], None]


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
    visit: Visit | None = None,
) -> LayerProfile:
    """Similarity of hidden states to a reference, per task and layer.

    The profile holds the headline measure with its interval over examples, beside linear CKA its value on robustly
    transformed states (``cka_robust``), and diagnostics of the states (``participation_ratio``,
    ``effective_directions``, ``top_dimension_share``, ``top_component_share``, ``rounding_share``), with warnings in
    words in ``profile.meta["warnings"]`` and what could not be checked or given in ``profile.meta["notes"]``. What is
    undefined is NaN with its reason.

    Args:
        states: the model measured: hidden states per task ``(layers, examples, width)``, or a bank.
        bank: the reference, of the same prompts; widths may differ, the number of layers may not.
        measure: ``"cka"``, ``"rbf_cka"``, ``"svcca"``, ``"procrustes_similarity"``, ``"procrustes_distance"``,
            ``"rsa"``, ``"mutual_knn"`` or ``"linear_predictivity"`` (of the reference from the states). All are
            invariant to rotation, so a bank of Grams serves them; where both sides hold states, these are used.
        estimator: of ``cka`` and ``rbf_cka``: ``"debiased"``, or the paper's ``"biased"``.
        step: of training, recorded in the rows.
        confidence: nominal coverage of the intervals: closed-form jackknife for CKA, a jackknife over 20 groups of
            examples for the others.
        robust: give ``cka_robust`` beside ``cka``.
        diagnostics: give diagnostics of ``states``.
        tasks: compare these alone; by default both sides must have the same.
        layers: compare these alone; by default those of ``states``, all of which the bank must have.
        groups: per task a number for each example: those of one number are near copies that are no independent
            examples. CKA then counts each group once, and intervals leave out groups whole; only debiased. Other
            measures keep their value. Tasks that are not named are taken as they are.
        visit: called with each task's name and its prepared centred Grams ``(layers, n, n)``, for whoever needs them.

    Raises:
        ValueError: if tasks, examples (row by row), layers, depth or tokenisation do not fit, with the way out; or for
            an unknown measure or estimator; or for groups of other tasks or numbers of examples.

    Examples:
        >>> import torch
        >>> x = torch.randn(3, 32, 8, generator=torch.Generator().manual_seed(0))
        >>> profile = compare({"sst2": x}, {"sst2": 2 * x})
        >>> profile.matrix().round(6)
        array([[1., 1., 1.]])
    """
    check_measure(measure, estimator)
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence between 0 and 1, got {confidence}")
    current, reference = as_bank(states), as_bank(bank)
    plan = align(current, reference, tasks=tasks, layers=layers)
    copies = _groups(groups or {}, plan, current, estimator)
    notes = [*plan.notes, *_notes_of_groups(copies)]
    with_robust = robust and measure == "cka"
    if with_robust and not (current.has_robust and reference.has_robust):
        with_robust = False
        notes.append("cka_robust is not given: a bank was made without robust Grams (from_states(..., robust=True))")
    if diagnostics and current.kind == "gram":
        notes.append(
            "top_dimension_share and rounding_share are not given: the states measured were kept as Gram matrices"
        )
    counts = {len(current.example_ids[task]) for task in plan.tasks}
    warnings: list[str] = []
    if estimator == "biased" and len(counts) > 1 and estimator_name(measure, estimator):
        warnings.append(
            f"the biased estimator is inflated the more, the fewer the examples: tasks of {min(counts)} to "
            f"{max(counts)} examples cannot be compared with each other"
        )
    rows = _Rows(step, plan, current.clusters)
    found: dict[str, Spectra] = {}
    beside: dict[str, tuple[Tensor, Tensor]] = {}
    for task in plan.tasks:
        needs_gram = visit is not None or measure == "cka" or current.kind == "gram"
        k = prepare_gram(_pick(current.gram(task), plan.current)) if needs_gram else None
        method = Method(measure, estimator, confidence, copies.get(task))
        headline = _headline(task, k, current, reference, plan, method)
        rows.add(task, measure, estimator, headline)
        if with_robust:
            own = _pick(current.robust_gram(task), plan.current)
            other = _pick(reference.robust_gram(task), plan.reference).to(own.device)
            cells = measure_cka(own, other, method)
            rows.add(task, "cka_robust", estimator, cells)
            beside[task] = (headline.value, cells.value)
        if diagnostics:
            found[task] = spectra(current, task, plan.current, None if k is None else k.gram)
            for name, values in found[task].items():
                rows.add_values(task, name, values)
        if visit is not None and k is not None:
            visit(task, k)
    meta = {
        "layers": list(plan.layers),
        "num_layers": current.num_layers,
        "tasks": list(plan.tasks),
        "clusters": {task: current.clusters[task] for task in plan.tasks},
        "examples": {task: len(current.example_ids[task]) for task in plan.tasks},
        "examples_digest": current.examples_digest,
        "tokens_digest": current.tokens_digest,
        "reference": reference.name,
        # States passed as they are have no digest: it would read all of them once more.
        "reference_digest": reference.digest if isinstance(bank, ReferenceBank) else "",
        "measure": measure,
        "estimator": estimator_name(measure, estimator),
        "model_name": current.model_name,
        "confidence": confidence,
        "warnings": warnings + warn_in_words(found, plan.layers, step, beside if diagnostics else None),
        "notes": notes,
    }
    return LayerProfile(rows.frame(), meta)


def _headline(
    task: str,
    k: GramStatistics | None,
    current: ReferenceBank,
    reference: ReferenceBank,
    plan: Alignment,
    method: Method,
) -> Cells:
    if method.measure == "cka" and k is not None:
        other = _pick(reference.gram(task), plan.reference).to(k.gram.device)
        return measure_cka(k, other, method)
    if current.kind == reference.kind == "features":
        x, y = _pick(current.features(task), plan.current), _pick(reference.features(task), plan.reference)
    else:
        x = gram_root(_pick(current.gram(task), plan.current) if k is None else k.gram)
        y = gram_root(_pick(reference.gram(task), plan.reference))
    return measure_features(x, y.to(x.device), method)


def _groups(
    given: Mapping[str, Sequence[int]], plan: Alignment, current: ReferenceBank, estimator: str
) -> dict[str, Tensor]:
    if given and estimator != "debiased":
        raise ValueError(f'expected estimator="debiased" with groups of near copies, got {estimator!r}')
    sizes = {task: len(current.example_ids[task]) for task in plan.tasks}
    wrong = {task: len(labels) for task, labels in given.items() if len(labels) != sizes.get(task)}
    if wrong:
        raise ValueError(
            f"expected groups with a number per example of the tasks compared ({sizes}), got lengths {wrong}"
        )
    return {task: group_positions(torch.tensor(labels), len(labels)) for task, labels in given.items()}


def _notes_of_groups(copies: Mapping[str, Tensor]) -> list[str]:
    if not copies:
        return []
    listed = ", ".join(f"{task} {int(labels.max()) + 1} of {len(labels)}" for task, labels in copies.items())
    return [f"near copies among the prompts count once; prompts that are none of each other: {listed}"]


def _pick(tensor: Tensor, positions: tuple[int, ...]) -> Tensor:
    # The usual case, all layers, must not copy.
    return tensor if positions == tuple(range(len(tensor))) else tensor[list(positions)]


class _Rows:
    """Collects blocks of one task and measure over all layers."""

    def __init__(self, step: int, plan: Alignment, clusters: Mapping[str, str]) -> None:
        self._step, self._plan, self._clusters = step, plan, clusters
        self._blocks: list[tuple[str, str, str, Cells]] = []

    def add(self, task: str, measure: str, estimator: str, cells: Cells) -> None:
        self._blocks.append((task, measure, estimator_name(measure, estimator), cells))

    def add_values(self, task: str, measure: str, values: Tensor) -> None:
        undefined = values.isnan()
        reasons = ["zero variance" if gone else "" for gone in undefined.tolist()]
        none = values.new_full(values.shape, np.nan)
        self._blocks.append((task, measure, "", Cells(values, none, none, reasons)))

    def frame(self) -> pd.DataFrame:
        count = len(self._plan.layers)
        blocks = self._blocks
        columns: dict[str, Any] = {
            "step": self._step,
            "layer": np.tile(self._plan.layers, len(blocks)),
            "task": np.repeat([block[0] for block in blocks], count),
            "cluster": np.repeat([self._clusters[block[0]] for block in blocks], count),
            "measure": np.repeat([block[1] for block in blocks], count),
            "estimator": np.repeat([block[2] for block in blocks], count),
        }
        for position, name in enumerate(("value", "low", "high")):
            columns[name] = np.concatenate([np.asarray(block[3][position]) for block in blocks])
        columns["reason"] = [reason for block in blocks for reason in block[3].reasons]
        frame: pd.DataFrame = pd.DataFrame(columns)
        return frame
