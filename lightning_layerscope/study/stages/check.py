"""Stage ``check:<task>``: which layers' training one task's answers rest on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightning_layerscope.advice.check import LayerCheck, check_rows
from lightning_layerscope.study.engine.stage import Stage
from lightning_layerscope.study.engine.store import Store
from lightning_layerscope.study.plan import Template
from lightning_layerscope.study.stages.context import StudyContext
from lightning_layerscope.study.stages.probes import HELD_OUT, ProbesStage, prompt_template
from lightning_layerscope.study.stages.records import read_record, write_record
from lightning_layerscope.study.stages.states import Checkpoint, Measuring
from lightning_layerscope.study.stages.train import TrainStage
from lightning_layerscope.training.encoding import encode_examples
from lightning_layerscope.training.loading import is_adapter, load_causal_model
from lightning_layerscope.training.progress import Progress

_FILE = "check.json"
_MOST_TOKENS = 1024  # of one batch, whose states are kept in all layers, twice


@dataclass(frozen=True)
class CheckedTask:
    """Held-out losses of one task, in nats per answer token.

    Attributes:
        tuned: Of each row.
        restored: Way to layers to rows: the same with layers put back to the base model.
    """

    tuned: list[float]
    restored: dict[str, list[list[float]]]


@dataclass(frozen=True, eq=False)
class CheckStage(Stage[StudyContext, CheckedTask]):
    """Puts the tuned model's layers back to the base model and scores one task's held-out rows.

    Attributes:
        task: Name of the task.
        probes: The task's held-out rows.
        model: The tuned model.
        measuring: How it is measured.
        template: How a held-out row becomes a prompt.
        rows: How many rows, the first ones.
        ways: Which layers are put back together.
    """

    task: str
    probes: ProbesStage
    model: TrainStage | Checkpoint
    measuring: Measuring
    template: Template
    rows: int
    ways: tuple[str, ...]
    kind = "check"

    @property
    def name(self) -> str:
        """``check:<task>``."""
        return f"{self.kind}:{self.task}"

    def settings(self) -> Mapping[str, Any]:
        """How it is measured, and which model it is where no stage made it."""
        settings = asdict(self.measuring) | {"rows": self.rows, "ways": list(self.ways)}
        return settings | ({"checkpoint": self.model.digest} if isinstance(self.model, Checkpoint) else {})

    def run(self, context: StudyContext, folder: Path) -> None:
        """Write the losses."""
        examples = self.probes.load(context.store).rows.split(HELD_OUT)[: self.rows]
        rows = encode_examples(
            self.task,
            examples,
            context.tokenizer,
            template=prompt_template(self.template),
            max_length=self.measuring.max_length,
        )
        with self._models(context) as (tuned, base), Progress(self.name, len(rows), unit="rows") as progress:
            check = check_rows(
                tuned,
                rows,
                base=base,
                ways=self.ways,
                max_tokens_per_batch=min(_MOST_TOKENS, self.measuring.max_tokens_per_batch),
                progress=lambda done, _: progress.to(done),
            )
        restored = {way: losses.tolist() for way, losses in check.restored.items()}
        write_record(CheckedTask(check.tuned.tolist(), restored), folder / _FILE)

    def load(self, store: Store) -> CheckedTask:
        """The losses."""
        return read_record(CheckedTask, store.verified(self) / _FILE)

    @contextmanager
    def _models(self, context: StudyContext) -> Iterator[tuple[Any, Any]]:
        """The tuned model, and the base model where that is not itself with its adapter off."""
        path = self.model.path if isinstance(self.model, Checkpoint) else str(self.model.load(context.store).folder)
        with context.models.tuned(path) as tuned:
            if is_adapter(path):
                yield tuned, None
            else:
                models = context.models
                yield tuned, load_causal_model(models.base_name, models.dtype).to(models.device)


def gather_check(
    stages: tuple[CheckStage, ...], store: Store, drift: Mapping[str, np.ndarray[Any, Any]], confidence: float
) -> LayerCheck:
    """The checks of all tasks together, beside the drift.

    Args:
        stages: At least one.
        store: Of the study.
        drift: Task to 1 - CKA of base and tuned model in each layer.
        confidence: Nominal coverage of the intervals.
    """
    checked = {stage.task: stage.load(store) for stage in stages}
    ways = stages[0].ways
    return LayerCheck(
        row_tasks=tuple(task for task, each in checked.items() for _ in each.tuned),
        tuned=np.concatenate([each.tuned for each in checked.values()]),
        restored={way: np.concatenate([each.restored[way] for each in checked.values()], axis=1) for way in ways},
        confidence=confidence,
        drift={task: drift[task] for task in checked},
    )
