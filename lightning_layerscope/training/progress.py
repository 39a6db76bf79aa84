"""A progress bar per phase: one that moves on a terminal, one line at its end elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:

    class Callback:
        """Stands for Lightning's, which has no types here."""
else:
    from pytorch_lightning import Callback

_FORMAT = "{desc:<12}{percentage:4.0f}% |{bar:30}| {n_fmt}/{total_fmt}  {elapsed}<{remaining}  {postfix}"


class Bar:
    """Counts steps and shows them with a number, as in ``fine-tuning  40% |####      | 120/300  00:12<00:18  loss 2.1``.

    Args:
        name: of the phase.
        total: its steps.
        show: whether to print at all.
    """

    def __init__(self, name: str, total: int, *, show: bool = True) -> None:
        self._name, self._total, self._show, self._note = name, total, show, ""
        self._begin = time.perf_counter()
        self._bar: Any = None
        if show and sys.stdout.isatty():
            from tqdm import tqdm

            # ASCII, for terminals without UTF-8.
            self._bar = tqdm(total=total, desc=name, bar_format=_FORMAT, ascii=" #", file=sys.stdout, leave=True)

    def to(self, step: int, note: str = "") -> None:
        """Move to a step."""
        self._note = note
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(step - self._bar.n)

    def close(self) -> None:
        """Leave the finished bar, or its one line, behind."""
        if self._bar is not None:
            self._bar.close()
        elif self._show:
            seconds = time.perf_counter() - self._begin
            print(f"{self._name:<12}{self._total} steps in {seconds:.0f} s  {self._note}".rstrip(), flush=True)


class ProgressCallback(Callback):
    """Moves a bar along a Lightning training of ``max_steps``.

    Args:
        bar: the bar.
    """

    def __init__(self, bar: Bar) -> None:
        super().__init__()
        self._bar = bar

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Show optimiser steps and the loss."""
        loss = trainer.callback_metrics.get("train/loss")
        self._bar.to(trainer.global_step, "" if loss is None else f"loss {float(loss):.2f}")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the bar."""
        self._bar.close()
