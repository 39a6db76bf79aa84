"""Calls to a service that may have died: waited for a stated time, and no longer."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable

SECONDS_TO_LOG, SECONDS_TO_FINISH = 10.0, 30.0
"""How long training waits for a tracker's own calls: a dead process of W&B may never answer, and a server that is gone
is asked again and again by some."""


class UnresponsiveError(RuntimeError):
    """A service has not answered in time."""


class Patience:
    """Makes calls to one service, in their order, and gives it up when one of them takes too long.

    Args:
        service: Its name, for messages.
    """

    def __init__(self, service: str) -> None:
        self._service = service
        self._given_up = False

    @property
    def given_up(self) -> bool:
        """Whether a call has taken too long."""
        return self._given_up

    def call(self, function: Callable[[], None], seconds: float) -> None:
        """Wait until the function has returned, at most this long; what it raises is raised here.

        After a call that took too long no further one is made. What that call still has to do goes on in the
        background, as long as the process lives.

        Raises:
            UnresponsiveError: When it takes longer; once, later calls do nothing.
        """
        if self._given_up:
            return
        errors: list[BaseException] = []

        def work() -> None:
            try:
                function()
            except BaseException as error:
                errors.append(error)

        # Not a pool: its threads would keep a process from ending whose service never answers.
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(work,), name=f"layerscope {self._service}", daemon=True)
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            self._given_up = True
            raise UnresponsiveError(
                f"{self._service} has not answered within {seconds:g} s; nothing more is logged to it in this run"
            )
        if errors:
            raise errors[0]
