"""Pictures and the report of a run: asked for, logged when they are ready, waited for at the end alone."""

from __future__ import annotations

import copy
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lightning_layerscope.drawing.passing import Drawn
from lightning_layerscope.drawing.process import DrawingProcess
from lightning_layerscope.measurements import RunRecord
from lightning_layerscope.monitor.attempts import attempt
from lightning_layerscope.monitor.failures import Failures
from lightning_layerscope.monitor.folder import REPORT
from lightning_layerscope.monitor.messages import sentence
from lightning_layerscope.sinks.base import PictureSink, name_of
from lightning_layerscope.wording import count

SECONDS_BETWEEN_LOOKS = 1.0
"""How often a training step looks whether pictures are ready."""

SECONDS_IN_SILENCE = 3.0
"""How long the end of a run waits without saying so."""

MOST_STARTS = 3
"""So often a process that draws is started in a run: what kills one may be gone (a full disk) or stay (no memory)."""


class Drawings:
    """What is drawn for a run, in a process of its own; lives on rank 0.

    Args:
        failures: Where a process that died is told.
        report: Draw the report after every measurement.
    """

    def __init__(self, failures: Failures, *, report: bool) -> None:
        self._failures, self._report = failures, report
        self._process: DrawingProcess | None = None
        self._starts = 0
        self._waiting: list[tuple[PictureSink, deque[tuple[int, int]]]] = []  # steps of the run and of the host
        self._asked: tuple[Path, int, dict[str, Any]] | None = None  # what the newest report shows
        self._looked = 0.0

    def open(self, sinks: Sequence[Any]) -> None:
        """Begin: nothing is started before there is something to draw."""
        self._waiting = [(sink, deque()) for sink in sinks if isinstance(sink, PictureSink)]

    def ask(self, folder: Path, record: RunRecord, host_step: int) -> None:
        """Have the last measurement drawn, whose files are in the folder."""
        step = record.steps[-1]
        wanted = [queue for sink, queue in self._waiting if attempt(partial(sink.wants_pictures, record)).value]
        if self._ask(folder, record, pictures=bool(wanted), report=self._report):
            for queue in wanted:
                queue.append((step, host_step))

    def ready(self) -> bool:
        """Whether pictures can be logged; looked up once a second at most."""
        if self._process is None or not any(queue for _, queue in self._waiting):
            return False
        if time.monotonic() - self._looked < SECONDS_BETWEEN_LOOKS:
            return False
        self._looked = time.monotonic()
        return any(self._process.has_pictures(queue[0][0]) for _, queue in self._waiting if queue)

    def deliver(self, *, last: bool = False) -> None:
        """Log the pictures that are ready, in order of steps.

        Args:
            last: There is no later: what a logger does not take now is not logged.
        """
        if self._process is None:
            return
        before = self._steps()
        for sink, queue in self._waiting:
            while queue and self._deliver(sink, *queue[0], last=last):
                queue.popleft()
        for step in before - self._steps():
            self._process.discard(step)

    def finish(self, folder: Path, record: RunRecord, *, seconds: float) -> None:
        """Wait for what is still being drawn, log it, and end the process.

        Args:
            folder: Of the run.
            record: Of the whole run.
            seconds: How long is waited at most.
        """
        deadline = time.monotonic() + seconds
        try:
            # Twice: a process that died costs the pictures that it owed, and another one makes the report.
            done = self._wait(folder, record, deadline) or self._wait(folder, record, deadline)
            self.deliver(last=True)
            if self._process is None:
                return
            if not done:
                owed = len(self._steps())
                pictures = f"pictures of {count(owed, 'measurement')} are not logged, and " if owed else ""
                self._tell(
                    f"it was not finished {seconds:g} s after the end of the run: {pictures}the report is missing or "
                    "that of an earlier measurement.",
                    folder,
                )
            _, problem = attempt(self._process.page).value or (False, "")
            if problem:
                self._tell(f"the report could not be made ({problem}).", folder)
        finally:  # also where Ctrl-C has ended the wait
            self.close()

    def close(self) -> None:
        """End the process; what it has not drawn is left out."""
        self._end_process()
        self._waiting, self._starts = [], 0

    def _ask(self, folder: Path, record: RunRecord, *, pictures: bool, report: bool) -> bool:
        if not (pictures or report) or (self._process is None and self._starts == MOST_STARTS):
            return False
        asked = attempt(partial(self._send, folder, record.steps[-1], pictures=pictures, report=report))
        if asked.error:
            self._lose(asked.error, folder, {record.steps[-1]} if pictures else set())
        elif report:
            self._asked = _content(folder, record)
        return not asked.error

    def _send(self, folder: Path, step: int, *, pictures: bool, report: bool) -> None:
        if self._process is not None and self._process.folder != folder:  # the folder was lost in mid-run
            self._end_process()
        if self._process is None:
            self._starts += 1
            self._process = DrawingProcess(folder)
        self._process.ask(step, pictures=pictures, report=report)

    def _wait(self, folder: Path, record: RunRecord, deadline: float) -> bool:
        """Whether all is drawn in time; False also where the process was lost meanwhile."""
        if self._report and self._asked != _content(folder, record):
            self._ask(folder, record, pictures=False, report=True)
        if self._process is None:
            return not self._report
        steps = sorted(self._steps())
        for silent in (True, False):
            left = deadline - time.monotonic()
            waited = attempt(partial(self._process.wait, steps, min(left, SECONDS_IN_SILENCE) if silent else left))
            if waited.error:
                self._lose(waited.error, folder, set())
                return False
            if waited.value:
                return True
            if silent and left > SECONDS_IN_SILENCE:
                self._failures.say(f"waits for pictures and the report, {left:.0f} s at most.")
        return False

    def _deliver(self, sink: PictureSink, step: int, host_step: int, *, last: bool) -> bool:
        """Whether the pictures of a step are dealt with."""
        assert self._process is not None
        read = attempt(partial(self._process.pictures, step))
        drawn = Drawn(error=read.error) if read.error else read.value
        if drawn is None:
            return False
        if drawn.error:
            self._failures.add("pictures", f"at step {step}: {sentence(drawn.error)} All numbers are logged and kept.")
            return True
        logged = attempt(partial(sink.log_pictures, drawn.pictures, step=step, host_step=host_step, last=last))
        if logged.error:
            self._failures.add(name_of(sink), f"{sentence(logged.error)} The report shows the pictures.")
        return logged.value is not False

    def _steps(self) -> set[int]:
        return {step for _, queue in self._waiting for step, _ in queue}

    def _lose(self, error: str, folder: Path, asked: set[int]) -> None:
        """Go on without what this process owed, and without the pictures that it could not be asked for."""
        owed = count(len(self._steps() | asked), "measurement")
        self._end_process()
        self._tell(
            f"{sentence(error)} Pictures of {owed} are not logged; drawing begins anew with the next, twice at most.",
            folder,
        )

    def _end_process(self) -> None:
        if self._process is not None:
            attempt(self._process.close)
        self._process, self._asked = None, None
        for _, queue in self._waiting:
            queue.clear()

    def _tell(self, what: str, folder: Path) -> None:
        self._failures.add("drawing", f"{what} All numbers are kept; `layerscope report {folder}` makes {REPORT}.")


def _content(folder: Path, record: RunRecord) -> tuple[Path, int, dict[str, Any]]:
    """What a report shows; to draw it once more for the same takes as long as a measurement."""
    return folder, len(record), copy.deepcopy(record.config)
