"""The stages of a trial: the evidence of the rules, then one training per rule and seed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from lightning_layerscope.advice.evidence import Evidence, gather_evidence
from lightning_layerscope.advice.trial_file import TrialLine
from lightning_layerscope.advice.trial_recipe import TrialRecipe
from lightning_layerscope.advice.trial_run import base_line, train_line
from lightning_layerscope.json_files import read_json
from lightning_layerscope.study.engine.stage import Stage
from lightning_layerscope.study.engine.store import Store
from lightning_layerscope.study.trial.context import TrialContext


@dataclass(frozen=True)
class EvidenceStage(Stage[TrialContext, Evidence]):
    """What the rules look at.

    Attributes:
        model: Digest of the base model.
        tasks: Digest of the tasks.
        recipe: The recipe of the trial.
        pilot: Whether a pilot run is part of it.
    """

    model: str
    tasks: str
    recipe: TrialRecipe
    pilot: bool

    @property
    def kind(self) -> str:
        """One of a kind."""
        return "evidence"

    @property
    def name(self) -> str:
        """The same."""
        return "evidence"

    def settings(self) -> Mapping[str, Any]:
        """Model, tasks and recipe."""
        return {"model": self.model, "tasks": self.tasks, "pilot": self.pilot, "recipe": _plain(self.recipe)}

    def run(self, context: TrialContext, folder: Path) -> None:
        """Gather and write."""
        model, tokenizer = context.loaded
        evidence = gather_evidence(
            model, tokenizer, context.options.tasks, context.targets, self.recipe, pilot=self.pilot
        )
        (folder / "evidence.json").write_text(json.dumps(asdict(evidence)), encoding="utf-8")

    def load(self, store: Store) -> Evidence:
        """The curves."""
        return Evidence.from_json(read_json(store.verified(self) / "evidence.json"))


@dataclass(frozen=True)
class TrainingStage(Stage[TrialContext, TrialLine]):
    """One short training of one rule, scored; the base model itself for the rule ``"base"``.

    Attributes:
        evidence: What the rule looks at.
        rule: Its name.
        seed: Seed of everything random.
        retention: Digest of the retention set.
    """

    trains: ClassVar[bool] = True

    evidence: EvidenceStage
    rule: str
    seed: int
    retention: str

    @property
    def kind(self) -> str:
        """All trainings are of one kind."""
        return "training"

    @property
    def name(self) -> str:
        """Rule and seed."""
        return f"training:{self.rule}@{self.seed}"

    def settings(self) -> Mapping[str, Any]:
        """Besides those of the evidence."""
        return {"rule": self.rule, "seed": self.seed, "retention": self.retention}

    def run(self, context: TrialContext, folder: Path) -> None:
        """Train, score, write one line."""
        setting = context.setting(self.evidence.load(context.store))
        line = base_line(setting) if self.rule == "base" else train_line(setting, self.rule, self.seed)
        (folder / "line.json").write_text(json.dumps(asdict(line)), encoding="utf-8")

    def load(self, store: Store) -> TrialLine:
        """The line."""
        return TrialLine.from_json(read_json(store.verified(self) / "line.json"))


def _plain(recipe: TrialRecipe) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(recipe).items()}
