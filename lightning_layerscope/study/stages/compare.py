"""Stage ``compare:<task>``: base and tuned model against the task's controls, and the controls with each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightning_layerscope.profiles import LayerProfile
from lightning_layerscope.study.engine.stage import Stage
from lightning_layerscope.study.engine.store import Store
from lightning_layerscope.study.stages.context import StudyContext
from lightning_layerscope.study.stages.gains import Compared, Gains, find_gains
from lightning_layerscope.study.stages.imported import ImportedStage
from lightning_layerscope.study.stages.improvement import Improvement, improvement
from lightning_layerscope.study.stages.measured import MeasuredModel
from lightning_layerscope.study.stages.records import read_record, write_record
from lightning_layerscope.study.stages.similarity import against
from lightning_layerscope.study.stages.states import StatesStage
from lightning_layerscope.study.stages.task_profile import ProfileOptions, task_profile

_FACTS, _DRIFT = "compared.json", "drift"


@dataclass(frozen=True)
class ComparisonFacts:
    """One task in numbers; models are named by the keys of their roles.

    Attributes:
        task: Name of the task.
        confidence: Of intervals.
        losses: Model to its mean held-out loss, in nats per answer token; None where it has none.
        controls: Which of the models are controls.
        loss_gain_over_base: Model to how much lower its loss is than the base model's, paired over rows.
        gains: What tuning added; None without controls.
    """

    task: str
    confidence: float
    losses: dict[str, float | None]
    controls: list[str]
    loss_gain_over_base: dict[str, Improvement]
    gains: Gains | None

    @property
    def not_learned(self) -> list[str] | None:
        """Controls whose loss is not below the base model's beyond chance; None where that is not known of all.

        A control that was taken over may have no losses of these tokens.
        """
        if not self.loss_gain_over_base or any(key not in self.loss_gain_over_base for key in self.controls):
            return None
        return [key for key in self.controls if not self.loss_gain_over_base[key].learned]


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
        controls: States of the controls.
        estimator: Of CKA.
        measures: CKA first, others beside it.
        confidence: Of intervals.
    """

    task: str
    base: StatesStage
    tuned: StatesStage
    controls: tuple[StatesStage | ImportedStage, ...]
    estimator: str
    measures: tuple[str, ...]
    confidence: float
    kind = "compare"

    @property
    def name(self) -> str:
        """``compare:<task>``."""
        return f"{self.kind}:{self.task}"

    def settings(self) -> Mapping[str, Any]:
        """How the states are compared."""
        return {"estimator": self.estimator, "measures": list(self.measures), "confidence": self.confidence}

    def run(self, context: StudyContext, folder: Path) -> None:
        """Write the profiles and the numbers.

        Raises:
            ValueError: If the states are not of the same prompts.
        """
        stages = (self.base, self.tuned, *self.controls)
        models = {stage.role.key: stage.load(context.store) for stage in stages}
        base, tuned = (models[stage.role.key].bank() for stage in (self.base, self.tuned))
        controls = [models[stage.role.key].bank() for stage in self.controls]
        options = ProfileOptions(self.estimator, self.confidence, self.measures[1:])
        drift = against(self.task, tuned, [base], self.estimator)
        task_profile(drift, tuned, [base], "base", options).to_parquet(_profile(folder, _DRIFT))
        gains = None
        if controls:
            compared = Compared(self.task, base, tuned, controls, self.estimator, self.confidence)
            similarities = []
            for stage, bank in ((self.base, base), (self.tuned, tuned)):
                similarity = against(self.task, bank, controls, self.estimator)
                profile = task_profile(similarity, bank, controls, "single-task control", options)
                profile.to_parquet(_profile(folder, stage.role.key))
                similarities.append(similarity)
            gains = find_gains(compared, *similarities)
        write_record(self._facts(models, gains), folder / _FACTS)

    def load(self, store: Store) -> TaskComparison:
        """Profiles and numbers."""
        folder = store.verified(self)
        roles = [self.base.role.key, self.tuned.role.key] if self.controls else []
        return TaskComparison(
            read_record(ComparisonFacts, folder / _FACTS),
            LayerProfile.from_parquet(_profile(folder, _DRIFT)),
            {role: LayerProfile.from_parquet(_profile(folder, role)) for role in roles},
        )

    def _facts(self, models: Mapping[str, MeasuredModel], gains: Gains | None) -> ComparisonFacts:
        losses = {key: model.facts.losses for key, model in models.items()}
        base = losses[self.base.role.key]
        improved = {
            key: improvement(base, values, self.confidence)
            for key, values in losses.items()
            if base and values and key != self.base.role.key
        }
        return ComparisonFacts(
            task=self.task,
            confidence=self.confidence,
            losses={key: _mean(values) for key, values in losses.items()},
            controls=[stage.role.key for stage in self.controls],
            loss_gain_over_base=improved,
            gains=gains,
        )


def _profile(folder: Path, name: str) -> Path:
    return folder / f"{name}.parquet"


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
