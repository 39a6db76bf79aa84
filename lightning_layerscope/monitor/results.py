"""What becomes of a measurement: files first, loggers second, pictures third, so that a crash loses no number."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal
from weakref import WeakValueDictionary

from torch import nn

from lightning_layerscope.extraction import no_trace
from lightning_layerscope.measurements import Measurement, RunRecord
from lightning_layerscope.monitor.attempts import attempt
from lightning_layerscope.monitor.drawings import Drawings
from lightning_layerscope.monitor.failures import Failures
from lightning_layerscope.monitor.files import RunFiles
from lightning_layerscope.monitor.location import Location
from lightning_layerscope.monitor.messages import sentence
from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.references import ReferenceBank
from lightning_layerscope.sinks.base import AlertSink, name_of

SECONDS_FOR_DRAWING = {"finished": 120.0, "exception": 10.0}
"""How long the end of a run waits for what is still being drawn: usually some seconds, longer on a crowded machine."""

_TAKEN: WeakValueDictionary[tuple[int, str], Results] = WeakValueDictionary()
"""By logger and name of the monitor: whose numbers stand there."""

MakeSinks = Callable[["Path | Literal[False]"], Sequence[Any]]
"""Makes the sinks; is given the file of prompts to upload, or False."""


class Results:
    """The record of a run, its folder and its loggers; lives on rank 0.

    Args:
        failures: Where a full disk or a logger that is gone is told.
        report: Have the HTML report drawn after every measurement.
        upload_prompts: Hand the file of prompts to the sinks.
        alerts: Have alerts sent by the trackers that can.
    """

    def __init__(self, failures: Failures, *, report: bool, upload_prompts: bool = False, alerts: bool = False) -> None:
        self.failures, self.upload_prompts = failures, upload_prompts
        self.record, self._alerts = RunRecord(), alerts
        self._drawings = Drawings(failures, report=report)
        self._files: RunFiles | None = None
        self._sinks: list[Any] = []
        self._missing: list[str] = []
        self.waited = 0.0

    @property
    def logs(self) -> bool:
        """Whether the run goes on."""
        return bool(self._sinks)

    @property
    def folder(self) -> Path | None:
        """Where the results lie; None in memory."""
        return None if self._files is None else self._files.folder

    @property
    def prompts_file(self) -> Path | None:
        """Where the prompts' texts lie; None where they are not kept."""
        return None if self._files is None else self._files.prompts_file

    def begin(self, record: RunRecord, location: Location) -> None:
        """Go on with this record in this location."""
        self.record, self._sinks, self._missing = record, [], []
        self._drawings.close()
        self._files = None if location.folder is None else RunFiles(record.run_id, location.folder, location)
        if self._files is not None:
            self._report_missing(self._files.reserve())

    def open(self, probes: ProbeSet | None, sinks: MakeSinks) -> None:
        """Keep the probes and start the loggers' sinks."""
        if self._files is not None:
            self._files.probes = probes
            self._report_missing(self._files.write_prompts())
        file = self.prompts_file
        opened = attempt(partial(sinks, file if self.upload_prompts and file is not None and file.is_file() else False))
        if opened.error:
            self.failures.add("logging", f"{sentence(opened.error)} Results go to files only.")
        for sink in opened.value or []:
            self._take(sink)
            if self._tell(sink, partial(sink.start, self.record)):
                self._sinks.append(sink)
        self._drawings.open(self._sinks)

    def keep(self, measurement: Measurement, bank: ReferenceBank, host_step: int) -> None:
        """Add a measurement to the record, write it, log its numbers, and have it drawn."""
        meta = measurement.profile.meta
        self.record.config.update({"num_layers": meta.num_layers, "layers": list(meta.layers)})
        self.record.config.update({key: getattr(meta, key) for key in ("reference", "reference_digest", "model_name")})
        added = attempt(partial(self.record.add, measurement))
        if added.error:
            self.failures.add("measurement", f"at step {measurement.step}: {sentence(added.error)}")
            return
        self.write(bank)
        for sink in self._sinks:
            self._tell(sink, partial(sink.log, measurement, self.record, host_step))
        for alert in measurement.alerts:
            self.failures.log(f"alert: {alert.text}")
            for sink in self._sinks if self._alerts else ():
                if isinstance(sink, AlertSink):
                    self._tell(sink, partial(sink.alert, alert))
        if self.folder is not None and not self._missing:  # it is drawn from its files
            self._drawings.ask(self.folder, self.record, host_step)

    def after_step(self) -> None:
        """Log pictures that are ready. No error reaches training, and no draw of random numbers."""
        if self._drawings.ready():
            with self.failures.contained(), no_trace(nn.Module()):
                self._drawings.deliver()

    def write(self, bank: ReferenceBank | None) -> None:
        """Make the folder complete: whatever is missing or new is written, each part whole or not at all."""
        if self._files is not None and self.record.measurements:
            self._report_missing(self._files.write(self.record, bank))

    def finish(self, status: str, bank: ReferenceBank | None) -> None:
        """Write and close what has measurements."""
        if not self.record.measurements:
            return
        self.write(bank)
        if self._missing:
            self.failures.warn(f"the results in {self.folder} are not complete: {sentence('; '.join(self._missing))}")
        began = time.monotonic()
        try:
            if self.folder is not None and self.folder.is_dir():  # else nothing could ever be written
                self._drawings.finish(self.folder, self.record, seconds=SECONDS_FOR_DRAWING[status])
        finally:  # Ctrl-C during that wait keeps nothing else from being logged
            self.waited = time.monotonic() - began
            for sink in self._sinks:
                self._tell(sink, partial(sink.finish, self.record, status))
            self._sinks = []

    def _report_missing(self, missing: list[str]) -> None:
        """Warn when something cannot be written that could be before; the next measurement tries again."""
        if missing and len(missing) > len(self._missing):
            self.failures.add(
                "writing",
                f"{sentence('; '.join(missing))} It stays in memory, and the next measurement writes it again; "
                f"see to it that {self.folder} can be written to and has room.",
            )
        self._missing = missing

    def _take(self, sink: Any) -> None:
        """Warn where another monitor's numbers go under the same keys of the same logger."""
        place = id(attempt(lambda: sink.target).value or sink), self.failures.name
        other = _TAKEN.get(place)
        if other is not None and other is not self and other.logs:
            self.failures.warn(
                f"another monitor of this name logs to the same {name_of(sink)}: the numbers of both stand under the "
                'same keys, and cannot be told apart. Name one of them with output=Output(name="...")'
            )
        _TAKEN[place] = self

    def _tell(self, sink: Any, call: Callable[[], Any]) -> bool:
        outcome = attempt(call)
        if outcome.error:
            self.failures.add(name_of(sink), f"{sentence(outcome.error)} The results are in {self.folder or 'memory'}.")
        return not outcome.error
