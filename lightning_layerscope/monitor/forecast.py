"""Whether the measurements that a run always pays for fit into what it may pay."""

from __future__ import annotations

from lightning_layerscope.monitor import messages
from lightning_layerscope.monitor.budget import Budget
from lightning_layerscope.monitor.host_state import HostState
from lightning_layerscope.monitor.settings import Settings

_STEPS_FOR_ESTIMATE = 20  # the first steps of a run are slower than the rest


class Forecast:
    """Looks once, after the first steps, whether the first and the last measurement alone break the budget.

    Args:
        settings: What the user asked for.
        budget: The budget of the run.
        first_step: Where this process began.
    """

    def __init__(self, settings: Settings, budget: Budget, first_step: int) -> None:
        self._settings, self._budget, self._first_step = settings, budget, first_step
        self._done = False

    def warning(self, host: HostState) -> str:
        """The warning when it is due; else empty."""
        if self._done or host.step - self._first_step < _STEPS_FOR_ESTIMATE or not host.total_steps:
            return ""
        self._done = True
        training = self._budget.elapsed - self._budget.spent
        expected = training * host.total_steps / max(host.step, 1) + 2 * self._budget.cost
        if not self._budget.exceeded_by_forced(expected):
            return ""
        return messages.too_dear(self._settings, self._budget, expected)
