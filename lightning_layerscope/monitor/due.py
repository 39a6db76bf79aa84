"""Which of the due measurements are taken; decided on rank 0."""

from __future__ import annotations

from collections.abc import Callable

from lightning_layerscope.measurements import RunRecord
from lightning_layerscope.monitor import messages
from lightning_layerscope.monitor.budget import Budget
from lightning_layerscope.monitor.settings import Settings


class Choice:
    """Takes what is new and within the budget, and counts what is left out.

    Args:
        settings: What the user asked for.
        budget: The budget of the run.
        say: Is told when the first due measurement is left out.

    Attributes:
        skipped: Due measurements that were left out for the budget.
    """

    def __init__(self, settings: Settings, budget: Budget, say: Callable[[str], None]) -> None:
        self._settings, self._budget, self._say = settings, budget, say
        self.skipped = 0
        self._left_out = -1  # the last step at which a due measurement was left out

    def begin(self, skipped: int) -> None:
        """A run begins, or goes on with so many left out."""
        self.skipped, self._left_out = skipped, -1

    def wants(self, step: int, record: RunRecord) -> bool:
        """Whether the measurement that is due at this step is taken."""
        if not _is_new(step, record):
            return False
        if self._settings.mode == "passive":  # costs no forward pass; its first one is the baseline
            return self._due_since_last(step, record)
        if self._budget.allows():
            return True
        self.skipped += 1
        self._left_out = step
        if self.skipped == 1:
            self._say(messages.left_out(self._settings, self._budget, step))
        return False

    def wants_last(self, step: int, record: RunRecord) -> bool:
        """Whether the last measurement is taken; one left out at this very step is made up for."""
        if not _is_new(step, record):
            return False
        self.skipped -= self._left_out == step
        return True

    def _due_since_last(self, step: int, record: RunRecord) -> bool:
        cadence = self._settings.cadence
        if not record.measurements or cadence.on_validation_end:
            return True
        return cadence.due(step, since=record.measurements[-1].step)


def _is_new(step: int, record: RunRecord) -> bool:
    return not record.measurements or record.measurements[-1].step < step
