"""Stage ``states:<role>:<task>``: hidden states and held-out losses of one model on one task."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightning_layerscope.extraction import HiddenStates, extract_hidden_states
from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.references import ReferenceBank
from lightning_layerscope.study.engine.stage import Stage
from lightning_layerscope.study.engine.store import Store
from lightning_layerscope.study.plan import Template
from lightning_layerscope.study.stages.context import StudyContext
from lightning_layerscope.study.stages.measured import (
    BANK,
    MOST_IN_GRAMS,
    MeasuredModel,
    RowLosses,
    load_measured,
    write_measured,
)
from lightning_layerscope.study.stages.probes import HELD_OUT, ProbesStage, prompt_template
from lightning_layerscope.study.stages.roles import Role
from lightning_layerscope.study.stages.row_files import digest_rows
from lightning_layerscope.study.stages.train import TrainStage
from lightning_layerscope.tasks import Task
from lightning_layerscope.training.encoding import EncodedExample, encode_examples
from lightning_layerscope.training.progress import Progress


@dataclass(frozen=True)
class Measuring:
    """How all models of a study are measured.

    Attributes:
        base: Digest of the base model.
        dtype: Data type of its weights in memory.
        bank_dtype: Data type of stored Gram matrices.
        max_tokens_per_batch: Most tokens of one forward pass.
        max_length: Tokens of prompt and answer together, in held-out rows.
        accelerator: As in Lightning's ``Trainer``.
        threads: Torch's.
    """

    base: str
    dtype: str
    bank_dtype: str
    max_tokens_per_batch: int
    max_length: int
    accelerator: str
    threads: int | None


@dataclass(frozen=True)
class Checkpoint:
    """A model that existed before the study.

    Attributes:
        path: Folder or hub name.
        digest: Digest of its content.
    """

    path: str
    digest: str


@dataclass(frozen=True, eq=False)
class StatesStage(Stage[StudyContext, MeasuredModel]):
    """Measures one model on one task.

    Attributes:
        role: The role of the model.
        task: Name of the task.
        probes: The task's prompts and held-out rows.
        model: The training that made the model, or the checkpoint that it is; None: the base model.
        measuring: How.
        template: How a held-out row becomes a prompt.
        pictured: Keep some states and the dimensionality, for figures.
    """

    role: Role
    task: str
    probes: ProbesStage
    model: TrainStage | Checkpoint | None
    measuring: Measuring
    template: Template
    pictured: bool
    kind = "states"

    @property
    def name(self) -> str:
        """``states:<role>:<task>``."""
        return f"{self.kind}:{self.role.key}:{self.task}"

    def settings(self) -> Mapping[str, Any]:
        """How the model is measured, and which one it is where no stage made it."""
        settings = asdict(self.measuring) | {"pictured": self.pictured}
        return settings | ({"checkpoint": self.model.digest} if isinstance(self.model, Checkpoint) else {})

    def run(self, context: StudyContext, folder: Path) -> None:
        """Write the bank, losses and facts, and some states where they are wanted."""
        probed = self.probes.load(context.store)
        with self._model(context) as model:
            probed.probes.check_model(model)
            states = self._states(model, probed.probes)
            losses = self._losses(model, probed.rows, context.tokenizer)
        grams = len(states.example_ids[self.task]) <= MOST_IN_GRAMS
        bank = ReferenceBank.from_states(states, kind="gram" if grams else "features", name=self.role.key, robust=False)
        exact = grams and self.measuring.bank_dtype == "float32"
        bank.save(folder / BANK, dtype="float32" if exact else None)
        write_measured(states, self.task, losses, folder, pictured=self.pictured)

    def load(self, store: Store) -> MeasuredModel:
        """What was measured."""
        return load_measured(store.verified(self))

    def encoded(self, rows: Task, tokenizer: Any) -> list[EncodedExample]:
        """The held-out rows that losses are of, in their order; none where they have no answers."""
        examples = rows.split(HELD_OUT)
        if not all(example.output.strip() for example in examples):
            return []
        template, length = prompt_template(self.template), self.measuring.max_length
        return encode_examples(rows.name, examples, tokenizer, template=template, max_length=length)

    def _model(self, context: StudyContext) -> AbstractContextManager[Any]:
        if self.model is None:
            return nullcontext(context.models.base())
        if isinstance(self.model, Checkpoint):
            return context.models.tuned(self.model.path)
        return context.models.tuned(self.model.load(context.store).folder)

    def _states(self, model: Any, probes: ProbeSet) -> HiddenStates:
        with Progress(self.name, probes.num_examples, unit="prompts") as progress:
            return extract_hidden_states(
                model,
                probes,
                max_tokens_per_batch=self.measuring.max_tokens_per_batch,
                progress=lambda done, _: progress.to(done),
            )

    def _losses(self, model: Any, rows: Task, tokenizer: Any) -> RowLosses:
        """Of the held-out rows; none where they have no answers, which only a study without training allows."""
        from lightning_layerscope.training.evaluation import row_losses

        encoded, digest = self.encoded(rows, tokenizer), digest_rows(rows.split(HELD_OUT))
        if not encoded:
            return RowLosses([], digest)
        with Progress(self.name, len(encoded), unit="held-out rows") as progress:
            losses = row_losses(
                model,
                encoded,
                max_tokens_per_batch=self.measuring.max_tokens_per_batch,
                progress=lambda done, _: progress.to(done),
            )
        means = losses.total.double() / losses.tokens
        return RowLosses([float(loss) for loss in means], digest)
