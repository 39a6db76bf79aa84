"""The process that draws: reads the run's folder, makes what it is asked for, and ends with the process that trains."""

from __future__ import annotations

import os
import queue
import shutil
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_layerscope.drawing.passing import Drawn, write_page, write_pictures
from lightning_layerscope.json_files import parse_json
from lightning_layerscope.measurements import RunRecord
from lightning_layerscope.measurements.files import ENTRIES, read_entry, read_measurement, steps_of
from lightning_layerscope.measurements.storage import read_config
from lightning_layerscope.sinks.picture import Picture

NICENESS = 10
"""Added to the priority's number: training goes first."""

SECONDS_BETWEEN_LOOKS = 1.0
"""How often it is looked whether the process that trains is still there, while there is nothing to draw."""


PAUSE = 4.0
"""While pictures wait, so many times as long as a report took passes before the next: each shows all measurements, so
that only the last one is missed, where each measurement has pictures of its own."""


@dataclass
class Wanted:
    """What is still to be drawn.

    Attributes:
        steps: Whose pictures, in the order in which they were asked for.
        page: The newest request for the report; 0: none.
        page_from: When the report may be made although pictures wait.
    """

    steps: deque[int] = field(default_factory=deque)
    page: int = 0
    page_from: float = 0.0

    def add(self, request: dict[str, Any]) -> None:
        """Take one request over; of pages the newest alone is made."""
        if request["pictures"]:
            self.steps.append(int(request["step"]))
        if request["report"]:
            self.page = int(request["request"])

    def take_page(self, now: float) -> int:
        """The request for the report, where it is time for it; 0: none."""
        due = not self.steps or now >= self.page_from
        number, self.page = (self.page, 0) if due else (0, self.page)
        return number

    def page_took(self, began: float, ended: float) -> None:
        """A report has been made."""
        self.page_from = ended + PAUSE * (ended - began)


class RunInFolder:
    """The record in a folder; measurements that were read once are kept.

    Args:
        folder: Of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._record: RunRecord | None = None

    def read(self) -> RunRecord:
        """The record as it is now: the same object, grown by the new measurements."""
        steps, config = steps_of(self.folder, ENTRIES), read_config(self.folder)
        record = self._record
        if record is None or config is None or steps[: len(record)] != record.steps:
            record = self._record = RunRecord.load(self.folder)
        else:
            for step in steps[len(record) :]:
                record.add(read_measurement(self.folder, read_entry(self.folder, step)))
            record.config = config["config"]
        return record

    def until(self, step: int) -> RunRecord:
        """The record as it was when this step had been measured."""
        record = self.read()
        return RunRecord(record.config, [each for each in record.measurements if each.step <= step])


def main(folder: str, passing: str, parent: int) -> None:
    """Draw what standard input asks for, one JSON object a line, until the process that trains is gone.

    What cannot be handed over (no room on the disk) ends this process, too: the one that trains sees that at once.

    Args:
        folder: Of the run.
        passing: For what is handed over.
        parent: The number of the process that has started this one.
    """
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    requests: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    run, hand_over, wanted = RunInFolder(Path(folder)), Path(passing), Wanted()
    while os.getppid() == parent:
        try:
            idle = not (wanted.steps or wanted.page)
            request = requests.get(timeout=SECONDS_BETWEEN_LOOKS) if idle else requests.get_nowait()
            if request is None:
                break
            wanted.add(request)
        except queue.Empty:
            if wanted.steps:
                _draw_pictures(run, wanted.steps.popleft(), hand_over)
            # Neither waits for the other for long where measurements come quicker than pictures are drawn.
            began = time.monotonic()
            if number := wanted.take_page(began):
                _draw_page(run, number, hand_over)
                wanted.page_took(began, time.monotonic())
    shutil.rmtree(hand_over, ignore_errors=True)  # nobody is there to take it


def _listen(requests: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    for line in sys.stdin:
        requests.put(parse_json(line, "a request to draw"))
    requests.put(None)


def _draw_pictures(run: RunInFolder, step: int, passing: Path) -> None:
    pictures: list[Picture] = []
    error = ""
    try:
        from lightning_layerscope.sinks.pictures import draw_pictures

        record = run.until(step)
        pictures = draw_pictures(record.measurements[-1], record)
    except Exception as problem:
        error = _told(problem)
    write_pictures(passing, step, Drawn(tuple(pictures), error))


def _draw_page(run: RunInFolder, request: int, passing: Path) -> None:
    error = ""
    try:
        from lightning_layerscope.sinks.report import write_report

        write_report(run.read(), run.folder / "report.html")
    except Exception as problem:
        error = _told(problem)
    write_page(passing, request, error)


def _told(problem: Exception) -> str:
    return " ".join(f"{type(problem).__name__}: {problem}".split())
