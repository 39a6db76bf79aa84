"""How far long work has come: a bar on a terminal, a line now and then elsewhere, nothing where nobody asked for it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

_SHOWN: ContextVar[bool] = ContextVar("layerscope_progress", default=False)
_PAUSE = 30.0  # seconds between two lines in a log


@contextmanager
def showing(shown: bool = True) -> Iterator[None]:
    """Within the block, every :class:`Progress` of this thread is shown; commands ask for that, functions do not."""
    token = _SHOWN.set(shown)
    try:
        yield
    finally:
        _SHOWN.reset(token)


def is_shown() -> bool:
    """Whether progress is shown, to be handed to another process that does a part of the work."""
    return _SHOWN.get()


class Progress:
    """Counts what is done of one piece of work and says so, with its rate and the expected end.

    On a terminal it is tqdm's bar. Elsewhere (a log file, a worker of Ray) it is a line every 30 seconds, so that short
    work says nothing: ``fine-tuning: 120 of 300 steps, loss 2.1, 14 rows/s, 4:10 left, ends about 14:32``.

    Args:
        name: Name of the work.
        total: How much there is to do; None where that is not known.
        unit: What is counted.
        keep: Leave a line behind at the end, with the time that it took.
        clock: Seconds; for tests.
    """

    def __init__(
        self,
        name: str,
        total: int | None,
        *,
        unit: str = "rows",
        keep: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._total, self._unit, self._keep, self._clock = name, total, unit, keep, clock
        self._done, self._note, self._begin = 0, "", clock()
        self._told = self._begin
        self._bar: Any = None
        self._lines = is_shown() and not sys.stdout.isatty()
        if is_shown() and not self._lines:
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=name, unit=f" {unit}", leave=keep, file=sys.stdout, dynamic_ncols=True)

    def to(self, done: int, note: str = "", *, rows: int | None = None) -> None:
        """Say how much is done.

        Args:
            done: So much, since the beginning.
            note: What else there is to say, a loss for instance.
            rows: Rows done since the beginning, where something else is counted.
        """
        moved, self._done, self._note = done - self._done, done, note
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(moved)
        elif self._lines and self._clock() - self._told >= _PAUSE:
            self._told = self._clock()
            print(self._line(rows), flush=True)

    def close(self) -> None:
        """End the bar, or leave the last line behind."""
        if self._bar is not None:
            self._bar.close()
        elif self._lines and self._keep:
            seconds = self._clock() - self._begin
            print(", ".join(filter(None, [f"{self._count()} in {_duration(seconds)}", self._note])), flush=True)
        self._lines, self._bar = False, None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._keep = self._keep and kind is None
        self.close()

    def _count(self) -> str:
        of = "" if self._total is None else f" of {self._total}"
        return f"{self._name}: {self._done}{of} {self._unit}"

    def _line(self, rows: int | None) -> str:
        passed = self._clock() - self._begin
        rate = f"{self._done / passed:.3g} {self._unit}/s" if rows is None else f"{rows / passed:.3g} rows/s"
        parts = [self._count(), self._note, rate]
        if self._total is not None and self._done:
            left = passed / self._done * (self._total - self._done)
            ends = time.strftime("%H:%M", time.localtime(time.time() + left))
            parts.append(f"{_duration(left)} left, ends about {ends}")
        return ", ".join(filter(None, parts))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
