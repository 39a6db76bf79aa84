"""A progress bar per phase: one that moves on a terminal, one line at its end elsewhere."""

from __future__ import annotations

import sys
import time

_WIDTH = 30
_PAUSE = 0.1  # seconds between two drawings: a terminal over a network is slow


class Bar:
    """Counts steps and shows them with a note: ``fine-tuning    40 % |####      | 120/300  0:12<0:18  loss 2.1``.

    Args:
        name: of the phase.
        total: its steps.
        show: whether to print at all.
    """

    def __init__(self, name: str, total: int, *, show: bool = True) -> None:
        self._name, self._total, self._show, self._note = name, total, show, ""
        self._done, self._drawn, self._begin = 0, 0.0, time.perf_counter()
        self._moves = show and sys.stdout.isatty()
        if self._moves:
            self._draw()

    def to(self, step: int, note: str = "") -> None:
        """Move to a step."""
        self._done, self._note = step, note
        if self._moves and time.perf_counter() - self._drawn > _PAUSE:
            self._draw()

    def close(self) -> None:
        """Leave the finished bar, or its one line, behind."""
        if self._moves:
            self._draw()
            print()
        elif self._show:
            seconds = time.perf_counter() - self._begin
            print(f"{self._name:<13}{self._done}/{self._total} in {seconds:.0f} s  {self._note}".rstrip(), flush=True)

    def _draw(self) -> None:
        self._drawn = time.perf_counter()
        passed = self._drawn - self._begin
        share = self._done / max(self._total, 1)
        left = _clock(passed / share - passed) if share else "?"
        bar = ("#" * round(_WIDTH * share)).ljust(_WIDTH)
        line = f"{self._name:<13}{share:4.0%} |{bar}| {self._done}/{self._total}  {_clock(passed)}<{left}  {self._note}"
        # Return, write, and erase what a longer line left behind.
        print(f"\r{line}\x1b[K", end="", flush=True)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
