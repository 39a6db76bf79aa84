"""When to measure: from two steps to yes or no, apart from what is measured and what it costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Nothing asked for: representations move most at the beginning, so measure at steps 1, 2, 4, 8, ...
_DEFAULT_RATIO = 2.0


@dataclass(frozen=True)
class Cadence:
    """The steps at which a measurement falls due.

    Several triggers add up. Without any, the spacing is geometric with ratio 2. The first and the last measurement of a
    run do not depend on it.

    Args:
        every_n_steps: At every multiple of this many optimiser steps.
        at_steps: At these steps.
        geometric: At steps 1, r, r^2, ... (rounded up) for this ratio r > 1.
        on_validation_end: At every end of a validation inside training.

    Raises:
        ValueError: For counts that are not positive, or a ratio that is not above 1.

    Example:
        >>> cadence = Cadence(every_n_steps=100, at_steps=(5,))
        >>> [step for step in range(301) if cadence.due(step)]
        [5, 100, 200, 300]
        >>> cadence.due(103, since=97)  # a trainer that takes several steps at once passes no trigger unnoticed
        True
    """

    every_n_steps: int | None = None
    at_steps: tuple[int, ...] = ()
    geometric: float | None = None
    on_validation_end: bool = False

    def __post_init__(self) -> None:
        if self.every_n_steps is not None and self.every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, got {self.every_n_steps}; leave it out for none.")
        if any(step < 0 for step in self.at_steps):
            raise ValueError(f"at_steps must not be negative, got {list(self.at_steps)}.")
        if self.geometric is not None and not (self.geometric > 1 and math.isfinite(self.geometric)):
            raise ValueError(f"geometric is the ratio between steps and must be above 1, got {self.geometric}.")

    @classmethod
    def of(
        cls,
        every_n_steps: int | None = None,
        at_steps: Sequence[int] | None = None,
        geometric: float | None = None,
        on_validation_end: bool = False,
    ) -> Cadence:
        """A cadence from a callback's arguments, geometric when none is given."""
        if every_n_steps is None and not at_steps and geometric is None and not on_validation_end:
            geometric = _DEFAULT_RATIO
        return cls(every_n_steps, tuple(sorted(set(at_steps or ()))), geometric, on_validation_end)

    def due(self, step: int, since: int | None = None) -> bool:
        """Whether a trigger lies in ``(since, step]``.

        Args:
            step: Optimiser steps taken.
            since: Steps at the last time this was asked; by default ``step - 1``. Equal to ``step`` while gradients
                accumulate: nothing is due twice.
        """
        since = step - 1 if since is None else since
        if step <= since:
            return False
        if self.every_n_steps and step // self.every_n_steps > max(since, 0) // self.every_n_steps:
            return True
        if any(since < wanted <= step for wanted in self.at_steps):
            return True
        return self.geometric is not None and self._count(step) > self._count(since)

    def describe(self) -> str:
        """The cadence in words, for previews and records."""
        parts = []
        if self.every_n_steps:
            parts.append("every step" if self.every_n_steps == 1 else f"every {self.every_n_steps} steps")
        if self.at_steps:
            word = "step" if len(self.at_steps) == 1 else "steps"
            parts.append(f"at {word} {', '.join(map(str, self.at_steps))}")
        if self.geometric is not None:
            parts.append(f"at steps that grow by {self.geometric:g}")
        if self.on_validation_end:
            parts.append("after every validation")
        return ", ".join(parts)

    def _count(self, step: int) -> int:
        """How many geometric triggers lie in ``1..step``: powers of the ratio, rounded up."""
        assert self.geometric is not None
        if step < 1:
            return 0
        power = math.floor(math.log(step) / math.log(self.geometric) + 1e-9)
        return power + 1
