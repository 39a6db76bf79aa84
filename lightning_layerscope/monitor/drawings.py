"""Pictures and the report of a run: asked for, logged when they are ready, waited for at the end alone."""

from __future__ import annotations

import copy
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lightning_layerscope.drawing import process
from lightning_layerscope.drawing.passing import Drawn
from lightning_layerscope.drawing.process import DrawingProcess
from lightning_layerscope.measurements import RunRecord
from lightning_layerscope.monitor.attempts import attempt
from lightning_layerscope.monitor.failures import Failures
from lightning_layerscope.monitor.folder import REPORT
from lightning_layerscope.monitor.messages import sentence
from lightning_layerscope.sinks.base import PictureSink
from lightning_layerscope.wording import count

SECONDS_BETWEEN_LOOKS = 1.0
"""How often a training step looks whether pictures are ready."""


class Drawings:
    """What is drawn for a run, in a process of its own; lives on rank 0.

    Args:
        failures: Where a process that died is told.
        report: Draw the report after every measurement.
    """

    def __init__(self, failures: Failures, *, report: bool) -> None:
        self._failures, self._report = failures, report
        self._process: DrawingProcess | None = None
        self._given_up = False
        self._waiting: list[tuple[PictureSink, deque[tuple[int, int]]]] = []  # steps of the run and of the host
        self._asked: tuple[Path, int, dict[str, Any]] | None = None  # what the newest report shows
        self._looked = 0.0

    def open(self, sinks: Sequence[Any]) -> None:
        """Begin: nothing is started before there is something to draw."""
        self._waiting = [(sink, deque()) for sink in sinks if isinstance(sink, PictureSink)]

    def ask(self, folder: Path, record: RunRecord, host_step: int) -> None:
        """Have the last measurement drawn, whose files are in the folder."""
        if self._given_up:
            return
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

    def finish(self, folder: Path, record: RunRecord) -> None:
        """Wait a stated time for what is still being drawn, log it, and end the process."""
        if self._report and not self._given_up and self._asked != _content(folder, record):
            self._ask(folder, record, pictures=False, report=True)
        if self._process is not None:
            steps = sorted(self._steps())
            done = attempt(partial(self._process.wait, steps, process.SECONDS_AT_END))
            self.deliver(last=True)
            if done.error and not self._given_up:
                self._give_up(done.error, folder)
            elif done.value is False:
                self._tell(
                    f"it was not finished {process.SECONDS_AT_END:g} s after the end of the run: pictures of "
                    f"{count(len(self._steps()), 'measurement')} are not logged, and the report may be that of an "
                    "earlier measurement.",
                    folder,
                )
            _, problem = attempt(self._process.page).value or (False, "")
            if problem:
                self._tell(f"the report could not be made ({problem}).", folder)
        self.close()

    def close(self) -> None:
        """End the process; what it has not drawn is left out."""
        if self._process is not None:
            attempt(self._process.close)
        self._process, self._waiting, self._asked, self._given_up = None, [], None, False

    def _ask(self, folder: Path, record: RunRecord, *, pictures: bool, report: bool) -> bool:
        if not (pictures or report):
            return False
        asked = attempt(partial(self._send, folder, record.steps[-1], pictures=pictures, report=report))
        if asked.error:
            self._give_up(asked.error, folder)
        elif report:
            self._asked = _content(folder, record)
        return not asked.error

    def _send(self, folder: Path, step: int, *, pictures: bool, report: bool) -> None:
        if self._process is not None and self._process.folder != folder:  # the folder was lost in mid-run
            self._process.close()
            self._process = None
        if self._process is None:
            self._process = DrawingProcess(folder)
        self._process.ask(step, pictures=pictures, report=report)

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
            self._failures.add(type(sink).__name__, f"{sentence(logged.error)} The report shows the pictures.")
        return logged.value is not False

    def _steps(self) -> set[int]:
        return {step for _, queue in self._waiting for step, _ in queue}

    def _give_up(self, error: str, folder: Path) -> None:
        self._given_up = True
        self._tell(f"{sentence(error)} Nothing more is drawn in this run.", folder)

    def _tell(self, what: str, folder: Path) -> None:
        self._failures.add("drawing", f"{what} All numbers are kept; `layerscope report {folder}` makes {REPORT}.")


def _content(folder: Path, record: RunRecord) -> tuple[Path, int, dict[str, Any]]:
    """What a report shows; to draw it once more for the same takes as long as a measurement."""
    return folder, len(record), copy.deepcopy(record.config)
