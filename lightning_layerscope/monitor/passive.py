"""Passive mode: hidden states of the user's own validation, one named dataloader per task, at no extra forward pass."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lightning_layerscope.extraction import HiddenStates
from lightning_layerscope.measurements import Measurement, take_measurement
from lightning_layerscope.monitor.host_state import HostState
from lightning_layerscope.monitor.ranks import Ranks
from lightning_layerscope.monitor.settings import Settings
from lightning_layerscope.monitor.source import name_of_reference
from lightning_layerscope.monitor.validation_recorder import Rows, ValidationRecorder
from lightning_layerscope.references import ReferenceBank
from lightning_layerscope.wording import count

if TYPE_CHECKING:
    from lightning_layerscope.monitor.start import Plan


class PassiveSource:
    """Collects what validation leaves behind, and compares it at its end.

    Args:
        settings: What the user asked for; what to read is said in ``passive``.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings, self.options = settings, settings.passive
        self.reference_name: str | None = None
        self.baseline: dict[str, Any] = {}
        self.ranks: Ranks | None = None
        self._recorder: ValidationRecorder | None = None
        self._rows_of: dict[str, Rows] = {}
        self._bank: ReferenceBank | None = None

    def attach(self, ranks: Ranks) -> PassiveSource:
        """Work for these ranks from now on."""
        self.ranks = ranks
        self._bank = None
        return self

    # While validation runs.

    def open(self, model: nn.Module, *, world: int) -> None:
        """Validation begins: hooks in place."""
        self.close()
        most = self.options.examples_per_task
        self._rows_of = {}
        self._recorder = ValidationRecorder(
            model,
            layers=self.settings.layers,
            layer_modules=self.settings.extraction.layer_modules,
            embeddings=self.settings.extraction.embeddings,
            token_choice=self.options.token_choice,
            most=-(-most // world),
        )
        self._recorder.install()

    def begin_batch(self, batch: Any, task: str | None = None) -> None:
        """A batch begins; of which task may be said now, or by :meth:`finish_task` later."""
        if self._recorder is not None:
            if task is not None:
                self._recorder.rows = self._rows_of.setdefault(task, {})
            self._recorder.begin_batch(batch)

    def end_batch(self) -> None:
        """The batch is through."""
        if self._recorder is not None:
            self._recorder.end_batch()

    def finish_task(self, task: str) -> None:
        """What was read since the last task belongs to this one."""
        if self._recorder is not None:
            self._rows_of[task] = self._recorder.take()

    def close(self) -> None:
        """Validation is over: hooks away."""
        if self._recorder is not None:
            self._recorder.remove()

    @property
    def ready(self) -> bool:
        """Whether something was read that was not measured yet, or could not be read, which is then told."""
        return any(self._rows_of.values()) or bool(self._recorder and self._recorder.error)

    # What the monitor calls.

    def begin(self, plan: Plan) -> None:
        """Compare with this reference from now on."""
        self.reference_name, self._bank = plan.reference_name, plan.bank

    def measure_local(self, host: HostState) -> dict[str, Any]:
        """What this rank read."""
        rows_of, self._rows_of = self._rows_of, {}
        recorder = self._recorder
        if recorder is None:
            raise RuntimeError("no validation ran yet")
        if recorder.error:
            error, recorder.error = recorder.error, ""
            raise RuntimeError(f"the states of the validation batches could not be read: {error}")
        tasks = {task: (list(rows), torch.stack(list(rows.values()), dim=1)) for task, rows in rows_of.items() if rows}
        return {
            "tasks": tasks,
            "layers": recorder.layers,
            "num_layers": recorder.stack.num_layers,
            "name": recorder.target.name,
        }

    def merge(self, parts: list[dict[str, Any]], host: HostState) -> tuple[ReferenceBank, Measurement]:
        """Put the ranks' examples together, each once, in the order of their ids."""
        states = self._join(parts)
        if self._bank is None:
            name = name_of_reference(self.reference_name, host.step)
            self._bank = ReferenceBank.from_states(states, name=name, robust=self.settings.measure == "cka")
        measured = take_measurement(states, self._bank, step=host.step, **self.settings.compare_options)
        if self._bank.name.startswith("step "):
            measured.warnings.append(f"the reference is {self._bank.name}, the first validation, not the beginning")
        return self._bank, measured

    def describe(self) -> dict[str, Any]:
        """What is measured on."""
        return {"token_choice": self.options.token_choice}

    def preview(self) -> str:
        """What one measurement takes, in messages."""
        most = count(self.options.examples_per_task, "example")
        return f"the first {most} of each of your own validation dataloaders, no extra forward pass"

    def _join(self, parts: Sequence[dict[str, Any]]) -> HiddenStates:
        rows: dict[str, Rows] = {}
        for part in parts:
            for task, (ids, tensor) in part["tasks"].items():
                known = rows.setdefault(task, {})
                for position, name in enumerate(ids):
                    known.setdefault(name, tensor[:, position])
        if not rows:
            raise RuntimeError("validation left no hidden states behind: no forward pass of the model was seen")
        ids = {task: tuple(sorted(known)) for task, known in sorted(rows.items())}
        digest = hashlib.sha256(json.dumps(ids).encode()).hexdigest()
        choice = self.options.token_choice
        clusters = self.options.clusters
        return HiddenStates(
            tensors={task: torch.stack([rows[task][name] for name in ids[task]], dim=1) for task in ids},
            layers=parts[0]["layers"],
            num_layers=parts[0]["num_layers"],
            clusters={task: clusters.get(task, task) for task in ids},
            example_ids=ids,
            examples_digest=digest,
            tokens_digest=hashlib.sha256(f"{digest} {choice}".encode()).hexdigest(),
            model_name=parts[0]["name"],
        )
