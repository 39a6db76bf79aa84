"""Stage ``import:control@<seed>:<task>``: a control that an earlier study trained and measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning_layerscope.study.engine.stage import Stage
from lightning_layerscope.study.engine.store import Store
from lightning_layerscope.study.plan import Template
from lightning_layerscope.study.stages.context import StudyContext
from lightning_layerscope.study.stages.controls import KeptControl
from lightning_layerscope.study.stages.measured import FACTS, MeasuredModel, load_measured
from lightning_layerscope.study.stages.probes import HELD_OUT, ProbesStage, prompt_template
from lightning_layerscope.study.stages.records import write_record
from lightning_layerscope.study.stages.roles import Control
from lightning_layerscope.study.stages.row_files import digest_rows
from lightning_layerscope.tasks import Task


@dataclass(frozen=True, eq=False)
class ImportedStage(Stage[StudyContext, MeasuredModel]):
    """Takes over what another study measured of one control.

    Held-out losses are left out where they were measured on other rows than this plan's, or where this plan's token
    budget cuts a row otherwise: they would not be of the same tokens.

    Attributes:
        task: The control's task.
        probes: The task's prompts and held-out rows, which are the other study's, too.
        control: What is taken over.
        template: How a held-out row becomes a prompt.
        max_length: Tokens of prompt and answer together, in this study.
        max_length_there: The same where the control was measured.
    """

    task: str
    probes: ProbesStage
    control: KeptControl
    template: Template
    max_length: int
    max_length_there: int
    kind = "import"

    @property
    def role(self) -> Control:
        """Of the control."""
        return self.control.role

    @property
    def name(self) -> str:
        """``import:control@<seed>:<task>``."""
        return f"{self.kind}:{self.role.key}:{self.task}"

    def settings(self) -> Mapping[str, Any]:
        """What is taken over, and the budgets that decide about its losses."""
        lengths = {"max_length": self.max_length, "max_length_there": self.max_length_there}
        return {"bank": self.control.digest, "files": dict(self.control.files), **lengths}

    def run(self, context: StudyContext, folder: Path) -> None:
        """Copy what ``states`` would have written."""
        self.control.load()  # what is copied is whole, and the one that the fingerprint names
        self.control.copy(folder)
        facts = load_measured(folder).facts
        rows = self.probes.load(context.store).rows
        same = facts.rows == digest_rows(rows.split(HELD_OUT))
        if facts.losses and not (same and self._cut_alike(rows, context.tokenizer)):
            write_record(replace(facts, losses=[]), folder / FACTS)

    def load(self, store: Store) -> MeasuredModel:
        """What was measured."""
        return load_measured(store.verified(self))

    def _cut_alike(self, rows: Task, tokenizer: Any) -> bool:
        from lightning_layerscope.training.encoding import encode_examples

        if self.max_length == self.max_length_there:
            return True
        template = prompt_template(self.template)
        here, there = (
            encode_examples(rows.name, rows.split(HELD_OUT), tokenizer, template=template, max_length=length)
            for length in (self.max_length, self.max_length_there)
        )
        return here == there
