"""Passive mode: hidden states of the user's own validation, one named dataloader per task, at no extra forward pass."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from lightning_layerscope.extraction import HiddenStates
from lightning_layerscope.measurements import Measurement, take_measurement
from lightning_layerscope.monitor.host_state import HostState
from lightning_layerscope.monitor.ranks import Ranks
from lightning_layerscope.monitor.settings import Settings
from lightning_layerscope.monitor.validation_recorder import Rows, ValidationRecorder
from lightning_layerscope.references import ReferenceBank

_MOST_EXAMPLES = 256
_OPTIONS = ("tasks", "clusters", "token_choice", "examples_per_task")


class PassiveSource:
    """Collects what validation leaves behind, and compares it at its end.

    Options, in ``probe_options``: ``tasks`` (names of the dataloaders, in order, where these are no dict),
    ``clusters``, ``token_choice`` (``"last_prompt"``), ``examples_per_task`` (256: the first ones are kept).

    Args:
        settings: Of the monitor.

    Raises:
        ValueError: For options that passive mode does not have.
    """

    def __init__(self, settings: Settings) -> None:
        unknown = sorted(set(settings.probe_options) - set(_OPTIONS))
        if unknown:
            raise ValueError(f"passive mode knows the probe_options {', '.join(_OPTIONS)}, got {', '.join(unknown)}.")
        if settings.reference_kind == "base":
            raise ValueError('passive mode runs no forward pass of its own, so there is no reference="base".')
        if settings.upload_prompts:
            raise ValueError("passive mode has no prompts' texts, so there is nothing for upload_prompts to upload.")
        self.settings, self.options = settings, settings.probe_options
        self.ranks: Ranks | None = None
        self._recorder: ValidationRecorder | None = None
        self._found: dict[str, Rows] = {}
        self._bank: ReferenceBank | None = None

    def attach(self, ranks: Ranks) -> PassiveSource:
        """Work for these ranks from now on."""
        self.ranks = ranks
        self._bank = None
        return self

    # While validation runs.

    def open(self, model: nn.Module, *, world: int, only_in_eval: bool = False) -> None:
        """Validation begins: hooks in place."""
        self.close()
        most = int(self.options.get("examples_per_task") or _MOST_EXAMPLES)
        self._found = {}
        self._recorder = ValidationRecorder(
            model,
            layers=self.settings.extraction["layers"],
            layer_modules=self.settings.extraction["layer_modules"],
            embeddings=self.settings.embeddings,
            token_choice=self.options.get("token_choice", "last_prompt"),
            most=-(-most // world),
            only_in_eval=only_in_eval,
        )
        self._recorder.install()

    def batch(self, task: str, batch: Any) -> None:
        """A batch of a task begins."""
        if self._recorder is not None:
            self.store_under(task)
            self._recorder.rows = self._found[task]
            self._recorder.next_batch(batch)

    def store_under(self, task: str) -> None:
        """Make room for a task."""
        self._found.setdefault(task, {})

    def finish_task(self, task: str) -> None:
        """What was read since the last task belongs to this one."""
        if self._recorder is not None:
            self._found[task] = self._recorder.take()

    def close(self) -> None:
        """Validation is over: hooks away."""
        if self._recorder is not None:
            self._recorder.remove()

    @property
    def ready(self) -> bool:
        """Whether something was read that was not measured yet, or could not be read, which is then told."""
        return any(self._found.values()) or bool(self._recorder and self._recorder.error)

    # What the monitor calls.

    def set_reference(self, bank: ReferenceBank) -> None:
        """Compare with this reference from now on."""
        self._bank = bank

    def measure_local(self, host: HostState) -> dict[str, Any]:
        """What this rank read."""
        found, self._found = self._found, {}
        recorder = self._recorder
        if recorder is None:
            raise RuntimeError("no validation ran yet")
        if recorder.error:
            error, recorder.error = recorder.error, ""
            raise RuntimeError(f"the states of the validation batches could not be read: {error}")
        tasks = {task: (list(rows), torch.stack(list(rows.values()), dim=1)) for task, rows in found.items() if rows}
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
            name = "initial" if host.step == 0 else f"step {host.step}"
            self._bank = ReferenceBank.from_states(states, name=name, robust=self.settings.measure == "cka")
        measured = take_measurement(
            states, self._bank, step=host.step, measure=self.settings.measure, estimator=self.settings.estimator
        )
        if self._bank.name.startswith("step "):
            measured.warnings.append(f"the reference is {self._bank.name}, the first validation, not the beginning")
        return self._bank, measured

    def describe(self) -> dict[str, Any]:
        """What is measured on."""
        return {"token_choice": str(self.options.get("token_choice", "last_prompt"))}

    def preview(self) -> str:
        """What one measurement takes, in messages."""
        most = self.options.get("examples_per_task") or _MOST_EXAMPLES
        return f"the first {most} examples of each of your own validation dataloaders, no extra forward pass"

    def _join(self, parts: Sequence[dict[str, Any]]) -> HiddenStates:
        rows: dict[str, Rows] = {}
        for part in parts:
            for task, (ids, tensor) in part["tasks"].items():
                known = rows.setdefault(task, {})
                for position, name in enumerate(ids):
                    known.setdefault(name, tensor[:, position])
        if not rows:
            raise RuntimeError("validation left no hidden states behind: no forward pass of the model was seen")
        ids = {task: tuple(sorted(found)) for task, found in sorted(rows.items())}
        digest = hashlib.sha256(json.dumps(ids).encode()).hexdigest()
        choice = str(self.options.get("token_choice", "last_prompt"))
        clusters = self.options.get("clusters") or {}
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


def dataloader_names(loaders: Any, options: dict[str, Any]) -> list[str]:
    """Names of the validation dataloaders: the keys of a dict, or what the user calls them.

    Raises:
        ValueError: When they have no names, or the wrong number.
    """
    if isinstance(loaders, dict):
        return [str(key) for key in loaders]
    count = len(loaders) if isinstance(loaders, (list, tuple)) else 1
    names = options.get("tasks")
    if names is None:
        raise ValueError(
            "passive mode measures one task per validation dataloader and needs their names: return a dict "
            '{"task": dataloader}, or pass probe_options={"tasks": [...]} in their order.'
        )
    if len(names) != count:
        raise ValueError(f"probe_options['tasks'] names {len(names)} tasks, but there are {count} dataloaders.")
    return [str(name) for name in names]
