"""The work of :func:`~lightning_layerscope.compare`, one task at a time, with the Grams that each task needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from lightning_layerscope.comparison.alignment import align
from lightning_layerscope.comparison.copies import check_groups, groups_in_words
from lightning_layerscope.comparison.measures import (
    Cells,
    Method,
    estimator_name,
    gram_root,
    measure_cka,
    measure_features,
)
from lightning_layerscope.comparison.spectra import Spectra, spectra, warn_in_words
from lightning_layerscope.comparison.task_comparison import CompareOptions, TaskComparison, task_rows
from lightning_layerscope.functional.gram_statistics import GramStatistics, prepare_gram
from lightning_layerscope.profiles import LayerProfile, ProfileMeta
from lightning_layerscope.references import ReferenceBank, as_bank
from lightning_layerscope.wording import count

if TYPE_CHECKING:
    from lightning_layerscope.extraction import HiddenStates

    Source = HiddenStates | Mapping[str, Tensor] | ReferenceBank


class StatesComparison:
    """Two sides checked against each other and ready to be compared, task by task.

    Args:
        states: The model measured.
        bank: The reference.
        options: How they are compared.
        tasks: Compare these alone; by default both sides must have the same.
        layers: Compare these alone; by default those of ``states``.

    Attributes:
        tasks: What is compared, in the order of ``states``.

    Raises:
        ValueError: If tasks, examples, layers, depth or tokenisation of the two sides do not fit, or groups do not.
    """

    def __init__(
        self,
        states: Source,
        bank: Source,
        options: CompareOptions,
        *,
        tasks: Iterable[str] | None = None,
        layers: Sequence[int] | None = None,
    ) -> None:
        self._current, self._reference, self._options = as_bank(states), as_bank(bank), options
        # States passed as they are have no digest: it would read all of them once more.
        self._has_digest = isinstance(bank, ReferenceBank)
        self._alignment = align(self._current, self._reference, tasks=tasks, layers=layers)
        self._robust = options.robust and options.measure == "cka"
        sizes = {task: len(self._current.example_ids[task]) for task in self._alignment.tasks}
        self._groups = check_groups(options.groups or {}, sizes)
        self._notes = [*self._alignment.notes, *groups_in_words(self._groups)]
        if self._robust and not (self._current.has_robust and self._reference.has_robust):
            self._robust = False
            self._notes.append(
                "cka_robust is not given: a bank was made without robust Grams (from_states(..., robust=True))"
            )
        if options.diagnostics and self._current.kind == "gram":
            self._notes.append(
                "top_dimension_share and rounding_share are not given: the states measured were kept as Gram matrices"
            )

    @property
    def tasks(self) -> tuple[str, ...]:
        """What is compared, in the order of the states measured."""
        return self._alignment.tasks

    def compare_task(self, task: str, *, with_grams: bool = False) -> tuple[TaskComparison, GramStatistics | None]:
        """Compare one task.

        Args:
            task: Its name.
            with_grams: Whether the Grams are wanted in any case.

        Returns:
            Its results, and the prepared centred Grams ``(layers, n, n)`` of the states measured; None where neither
            the measure nor the caller needs them. They stand apart because they are large: no more than one task's
            need be held.
        """
        current, options = self._current, self._options
        grams = None
        if with_grams or options.measure == "cka" or current.kind == "gram":
            grams = prepare_gram(_pick(current.gram(task), self._alignment.current))
        headline = self._headline(task, grams)
        robust = None
        if self._robust:
            own = _pick(current.robust_gram(task), self._alignment.current)
            other = _pick(self._reference.robust_gram(task), self._alignment.reference).to(own.device)
            robust = measure_cka(own, other, self._method(task))
        diagnostics: Spectra = {}
        if options.diagnostics:
            diagnostics = spectra(current, task, self._alignment.current, None if grams is None else grams.gram)
        return TaskComparison(task, headline, robust, diagnostics), grams

    def profile(self, parts: Sequence[TaskComparison]) -> LayerProfile:
        """The profile of all tasks, from the results of each."""
        current, options, plan = self._current, self._options, self._alignment
        diagnostics = {part.task: part.spectra for part in parts if options.diagnostics}
        beside = {part.task: (part.headline.value, part.robust.value) for part in parts if part.robust is not None}
        meta = ProfileMeta(
            layers=tuple(plan.layers),
            num_layers=current.num_layers,
            tasks=tuple(plan.tasks),
            clusters={task: current.clusters[task] for task in plan.tasks},
            examples={task: len(current.example_ids[task]) for task in plan.tasks},
            examples_digest=current.examples_digest,
            tokens_digest=current.tokens_digest,
            reference=self._reference.name,
            reference_digest=self._reference.digest if self._has_digest else "",
            measure=options.measure,
            estimator=estimator_name(options.measure, options.estimator),
            model_name=current.model_name,
            confidence=options.confidence,
            warnings=(
                *self._size_warning(),
                *warn_in_words(diagnostics, plan.layers, options.step, beside if options.diagnostics else None),
            ),
            notes=tuple(self._notes),
        )
        return LayerProfile(task_rows(parts, plan.layers, current.clusters, options), meta)

    def _headline(self, task: str, grams: GramStatistics | None) -> Cells:
        current, reference, options = self._current, self._reference, self._options
        own, others = self._alignment.current, self._alignment.reference
        if options.measure == "cka" and grams is not None:
            other = _pick(reference.gram(task), others).to(grams.gram.device)
            return measure_cka(grams, other, self._method(task))
        if current.kind == reference.kind == "features":
            x, y = _pick(current.features(task), own), _pick(reference.features(task), others)
        else:
            x = gram_root(_pick(current.gram(task), own) if grams is None else grams.gram)
            y = gram_root(_pick(reference.gram(task), others))
        return measure_features(x, y.to(x.device), self._method(task))

    def _method(self, task: str) -> Method:
        options = self._options
        return Method(options.measure, options.estimator, options.confidence, self._groups.get(task))

    def _size_warning(self) -> list[str]:
        options = self._options
        counts = {len(self._current.example_ids[task]) for task in self.tasks}
        if len(counts) < 2 or estimator_name(options.measure, options.estimator) != "biased":
            return []
        return [
            f"the biased estimator is inflated the more, the fewer the examples: tasks of {min(counts)} to "
            f"{count(max(counts), 'example')} cannot be compared with each other"
        ]


def _pick(tensor: Tensor, positions: tuple[int, ...]) -> Tensor:
    # The usual case, all layers, must not copy.
    return tensor if positions == tuple(range(len(tensor))) else tensor[list(positions)]
