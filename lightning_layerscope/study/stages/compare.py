"""Stage ``compare:<task>``: base and tuned model against the task's controls, and the controls with each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lightning_layerscope.profiles import LayerProfile
from lightning_layerscope.references import ReferenceBank
from lightning_layerscope.study.engine.stage import Stage
from lightning_layerscope.study.engine.store import Store
from lightning_layerscope.study.stages.compared_losses import ComparedLosses, compare_losses
from lightning_layerscope.study.stages.context import StudyContext
from lightning_layerscope.study.stages.gains import Compared, Gains, find_gains
from lightning_layerscope.study.stages.guessing import guessing_losses
from lightning_layerscope.study.stages.imported import ImportedStage
from lightning_layerscope.study.stages.measured import MeasuredModel
from lightning_layerscope.study.stages.probes import HELD_OUT
from lightning_layerscope.study.stages.records import read_record, write_record
from lightning_layerscope.study.stages.roles import Control
from lightning_layerscope.study.stages.similarity import Similarity, against
from lightning_layerscope.study.stages.states import StatesStage
from lightning_layerscope.study.stages.task_profile import ProfileOptions, task_profile

_FACTS, _DRIFT = "compared.json", "drift"
AnyMeasurement = StatesStage | ImportedStage


@dataclass(frozen=True)
class AgainstControls:
    """A task's models against its controls of one budget, in numbers.

    Attributes:
        budget: How long these controls were trained.
        keys: The keys of their roles.
        losses: Their held-out losses, and those of both models.
        gains: What tuning added, seen from them.
    """

    budget: str
    keys: list[str]
    losses: ComparedLosses
    gains: Gains


@dataclass(frozen=True)
class ComparisonFacts:
    """One task in numbers.

    Attributes:
        task: Name of the task.
        confidence: Nominal coverage of intervals.
        loss_base: Held-out loss of the base model, in nats per answer token; None where rows have no answers.
        loss_tuned: That of the tuned model.
        controls: Against the controls that the verdict rests on; None without controls.
        beside: Against controls of other budgets.
    """

    task: str
    confidence: float
    loss_base: float | None
    loss_tuned: float | None
    controls: AgainstControls | None
    beside: list[AgainstControls]


@dataclass(frozen=True)
class TaskComparison:
    """All models of one task, compared.

    Attributes:
        facts: In numbers.
        drift: The tuned model against the base model.
        against_controls: ``base`` and the tuned model's role to their profiles against the controls; empty without.
    """

    facts: ComparisonFacts
    drift: LayerProfile
    against_controls: dict[str, LayerProfile]


@dataclass(frozen=True, eq=False)
class CompareStage(Stage[StudyContext, TaskComparison]):
    """Compares the models of one task.

    Attributes:
        task: Name of the task.
        base: States of the base model.
        tuned: States of the multi-task model, or of the tuned one that existed.
        controls: States of the controls that the verdict rests on; of one budget.
        beside: States of controls of other budgets.
        estimator: Estimator of CKA.
        measures: CKA first, others beside it.
        confidence: Nominal coverage of intervals.
    """

    task: str
    base: StatesStage
    tuned: StatesStage
    controls: tuple[AnyMeasurement, ...]
    beside: tuple[AnyMeasurement, ...]
    estimator: str
    measures: tuple[str, ...]
    confidence: float
    kind = "compare"
    revision: ClassVar[int] = 3

    @property
    def name(self) -> str:
        """``compare:<task>``."""
        return f"{self.kind}:{self.task}"

    def settings(self) -> Mapping[str, Any]:
        """How the states are compared."""
        return {
            "estimator": self.estimator,
            "measures": list(self.measures),
            "confidence": self.confidence,
            "beside": [stage.role.key for stage in self.beside],
        }

    def run(self, context: StudyContext, folder: Path) -> None:
        """Write the profiles and the numbers.

        Raises:
            ValueError: If the states are not of the same prompts.
        """
        stages = (self.base, self.tuned, *self.controls, *self.beside)
        models = {stage.name: stage.load(context.store) for stage in stages}
        base, tuned = (models[stage.name].bank() for stage in (self.base, self.tuned))
        options = ProfileOptions(self.estimator, self.confidence, self.measures[1:])
        drift = against(self.task, tuned, [base], self.estimator)
        task_profile(drift, tuned, [base], "base", options).to_parquet(_profile(folder, _DRIFT))
        guess = self._guess(context) if self.controls else None
        groups = []
        for alike in (self.controls, *_by_budget(self.beside)):
            if alike:
                compared = Compared(
                    self.task,
                    base,
                    tuned,
                    [models[stage.name].bank() for stage in alike],
                    self.estimator,
                    self.confidence,
                )
                pictured = folder if alike is self.controls else None
                groups.append(self._against(compared, alike, models, guess, options, pictured))
        facts = ComparisonFacts(
            task=self.task,
            confidence=self.confidence,
            loss_base=models[self.base.name].facts.mean_loss,
            loss_tuned=models[self.tuned.name].facts.mean_loss,
            controls=groups[0] if self.controls else None,
            beside=groups[1:] if self.controls else [],
        )
        write_record(facts, folder / _FACTS)

    def load(self, store: Store) -> TaskComparison:
        """Profiles and numbers."""
        folder = store.verified(self)
        roles = [self.base.role.key, self.tuned.role.key] if self.controls else []
        return TaskComparison(
            read_record(ComparisonFacts, folder / _FACTS),
            LayerProfile.from_parquet(_profile(folder, _DRIFT)),
            {role: LayerProfile.from_parquet(_profile(folder, role)) for role in roles},
        )

    def _guess(self, context: StudyContext) -> list[float] | None:
        """Losses of answering by frequency on the held-out rows; None where they have no answers, or none repeats."""
        rows = self.base.probes.load(context.store).rows
        encoded = self.base.encoded(rows, context.tokenizer)
        answers = [row.output.strip() for row in rows.split(HELD_OUT)]
        return guessing_losses(answers, [len(row.answer) for row in encoded]) if encoded else None

    def _against(
        self,
        compared: Compared,
        stages: Sequence[AnyMeasurement],
        models: Mapping[str, MeasuredModel],
        guess: Sequence[float] | None,
        options: ProfileOptions,
        folder: Path | None,
    ) -> AgainstControls:
        """Both models against controls of one budget; their profiles go into the folder where there is one."""

        def similarity(stage: StatesStage, bank: ReferenceBank) -> Similarity:
            against_controls = against(self.task, bank, compared.controls, self.estimator)
            if folder is not None:
                profile = task_profile(against_controls, bank, compared.controls, "single-task control", options)
                profile.to_parquet(_profile(folder, stage.role.key))
            return against_controls

        gains = find_gains(compared, similarity(self.base, compared.base), similarity(self.tuned, compared.tuned))
        losses = compare_losses(
            models[self.base.name].facts,
            models[self.tuned.name].facts,
            {stage.role.key: models[stage.name].facts for stage in stages},
            guess,
            self.confidence,
        )
        return AgainstControls(_budget(stages[0]), [stage.role.key for stage in stages], losses, gains)


def _by_budget(stages: Sequence[AnyMeasurement]) -> list[list[AnyMeasurement]]:
    groups: dict[str, list[AnyMeasurement]] = {}
    for stage in stages:
        groups.setdefault(_budget(stage), []).append(stage)
    return list(groups.values())


def _budget(stage: AnyMeasurement) -> str:
    assert isinstance(stage.role, Control)
    return stage.role.budget


def _profile(folder: Path, name: str) -> Path:
    return folder / f"{name}.parquet"
