"""Gather batches of states into one tensor per task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_layerscope.extraction.batching import Row

if TYPE_CHECKING:
    from lightning_layerscope.probes import ProbeSet


class Collector:
    """Takes states ``(layers, B, width)`` in any order of prompts.

    Copies from an accelerator go to pinned memory and are not waited for; :meth:`finish` waits once.

    Args:
        probes: The prompts, which say how many rows each task has.
        num_layers: Number of kept layers.
        device: Where the states end.
        dtype: What they are cast to; None keeps what comes.
    """

    def __init__(self, probes: ProbeSet, num_layers: int, *, device: torch.device, dtype: torch.dtype | None) -> None:
        self.probes, self.num_layers, self.device, self.dtype = probes, num_layers, device, dtype
        self.tasks = list(probes)
        self.done = 0
        self._tensors: dict[str, Tensor] = {}
        self._waiting: list[tuple[Sequence[Row], Tensor]] = []
        self._source: torch.device | None = None

    def add(self, rows: Sequence[Row], states: Tensor) -> None:
        """Keep the states ``(layers, B, width)`` of the prompts ``rows``."""
        states = states if self.dtype is None else states.to(self.dtype)
        if states.device.type == "cuda" and self.device.type == "cpu":
            pinned = torch.empty(states.shape, dtype=states.dtype, pin_memory=True)
            pinned.copy_(states, non_blocking=True)
            self._waiting.append((rows, pinned))
            self._source = states.device
        else:
            self._place(rows, states.to(self.device))
        self.done += len(rows)

    def finish(self, layers: Sequence[int]) -> dict[str, Tensor]:
        """The states by task, ``(layers, examples, width)``.

        Raises:
            ValueError: When a value is not finite; names task, example and layer.
        """
        if self._source is not None:
            torch.cuda.synchronize(self._source)
        while self._waiting:
            self._place(*self._waiting.pop())
        for task, states in self._tensors.items():
            self._check(task, states, layers)
        return {task: self._tensors[task] for task in self.tasks if task in self._tensors}

    def _place(self, rows: Sequence[Row], states: Tensor) -> None:
        for position, (task, row) in enumerate(rows):
            name = self.tasks[task]
            if name not in self._tensors:
                shape = (self.num_layers, len(self.probes[name].input_ids), states.shape[-1])
                self._tensors[name] = torch.empty(shape, dtype=states.dtype, device=states.device)
            self._tensors[name][:, row] = states[:, position]

    def _check(self, task: str, states: Tensor, layers: Sequence[int]) -> None:
        finite = states.isfinite().all(-1)
        if bool(finite.all()):
            return
        wrong = (~finite).nonzero()
        row = int(wrong[0, 1])  # nonzero is sorted by layer: the first layer where it goes wrong
        raise ValueError(
            f"Hidden states are not finite: task {task!r}, example {self.probes[task].example_ids[row]!r}, layer "
            f"{layers[int(wrong[0, 0])]} first ({int((~finite).any(0).sum())} of {states.shape[1]} prompts of "
            "the task). "
            "The weights have diverged, or the dtype overflows: look at the loss, or use bfloat16 or float32 "
            "rather than float16."
        )
