"""What the monitor may cost: it times itself and says whether the next measurement is within its share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any


class Budget:
    """Share of the run's wall time that measurements may take.

    The first and the last measurement always happen. All others together stay within ``max_overhead`` of the time since
    the start: one that would not is left out, and the next due step asks again. Probes are never reduced.

    Args:
        max_overhead: The share, e.g. 0.02; ``None`` for no limit.
        clock: Seconds, monotonic.

    Raises:
        ValueError: For a share outside of (0, 1].

    Example:
        >>> now = 0.0
        >>> budget = Budget(0.02, clock=lambda: now)
        >>> budget.start()
        >>> with budget.measuring(forced=True):
        ...     now = 2.0
        >>> now = 50.0
        >>> budget.allows()     # 2 s more would be 4 % of the time so far
        False
        >>> now = 100.0
        >>> budget.allows()
        True
        >>> round(budget.overhead, 3)
        0.02
    """

    def __init__(self, max_overhead: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        if max_overhead is not None and not 0 < max_overhead <= 1:
            raise ValueError(
                f"max_overhead must lie in (0, 1] (0.02 is 2 % of the run's time), got {max_overhead}; "
                "None lifts the limit."
            )
        self.max_overhead, self._clock = max_overhead, clock
        self.forced, self.chosen = 0.0, 0.0
        self.cost = 0.0
        self._before = 0.0
        self._started: float | None = None
        self._opened: float | None = None

    def start(self, *, elapsed: float = 0.0, forced: float = 0.0, chosen: float = 0.0, cost: float = 0.0) -> None:
        """Begin to count the run's time; a resumed run goes on from what its checkpoint says."""
        self._before, self._started = elapsed, self._clock()
        self.forced, self.chosen, self.cost = forced, chosen, cost

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` gave in an earlier process; an empty one begins anew."""
        self.start(**{key: float(state.get(key, 0)) for key in ("elapsed", "forced", "chosen", "cost")})

    def state(self) -> dict[str, float]:
        """What must survive a restart."""
        return {"elapsed": self.elapsed, "forced": self.forced, "chosen": self.chosen, "cost": self.cost}

    @property
    def resumed(self) -> bool:
        """Whether an earlier process has spent a part of the run's time."""
        return self._before > 0

    @property
    def elapsed(self) -> float:
        """Wall time of the run in seconds, over all its resumptions."""
        return self._before + (0.0 if self._started is None else self._clock() - self._started)

    @property
    def spent(self) -> float:
        """Seconds that measurements took so far, one under way included."""
        return self.forced + self.chosen + self.running

    @property
    def running(self) -> float:
        """Seconds since the measurement under way began; 0 outside one."""
        return 0.0 if self._opened is None else self._clock() - self._opened

    @property
    def overhead(self) -> float:
        """``spent / elapsed``: the share of the run's wall time that all measurements took, the forced two included."""
        return self.spent / self.elapsed if self.elapsed > 0 else 0.0

    def allows(self) -> bool:
        """Whether one more measurement, as dear as the dearest of late, keeps the promise."""
        if self.max_overhead is None:
            return True
        return self.chosen + self.cost <= self.max_overhead * self.elapsed

    def exceeded_by_forced(self, expected: float) -> bool:
        """Whether first and last measurement alone take more than the share of a run of ``expected`` seconds."""
        return self.max_overhead is not None and 2 * self.cost > self.max_overhead * expected

    @contextmanager
    def measuring(self, *, forced: bool) -> Iterator[None]:
        """Time a measurement, also one that fails."""
        self._opened = self._clock()
        try:
            yield
        finally:
            seconds = self.running
            self._opened = None
            self._spend(seconds, forced=forced)
            # Decays, so that one slow measurement (a cold start, a busy disk) does not rule the whole run.
            self.cost = max(seconds, (self.cost + seconds) / 2)

    @contextmanager
    def afterwards(self, *, forced: bool = False) -> Iterator[None]:
        """Time what measurements have left to be done later, which says nothing of what the next one takes."""
        since = self._clock()
        try:
            yield
        finally:
            self._spend(self._clock() - since, forced=forced)

    def _spend(self, seconds: float, *, forced: bool) -> None:
        if forced:
            self.forced += seconds
        else:
            self.chosen += seconds
