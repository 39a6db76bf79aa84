"""What becomes of a measurement: files first, loggers second, so that a crash in between loses nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lightning_layerscope.measurements import Measurement, RunRecord
from lightning_layerscope.monitor.failures import Failures
from lightning_layerscope.monitor.folder import PROBES, REFERENCE, REPORT
from lightning_layerscope.monitor.ranks import attempt
from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.references import ReferenceBank


class Results:
    """The record of a run, its folder and its loggers; lives on rank 0.

    Args:
        failures: Where a full disk or a logger that is gone is told.
        report: Write the HTML report along with every measurement.
    """

    def __init__(self, failures: Failures, *, report: bool) -> None:
        self.failures, self.report = failures, report
        self.record = RunRecord()
        self.folder: Path | None = None
        self._sinks: list[Any] = []
        self._bank_written = False
        self._written: tuple[int, dict[str, Any]] | None = None

    def begin(self, record: RunRecord, folder: Path | None) -> None:
        """Go on with this record in this folder (None: in memory)."""
        self.record, self.folder = record, folder
        self._sinks, self._bank_written, self._written = [], False, None

    def open(self, probes: ProbeSet | None, sinks: Callable[[Path | None], Sequence[Any]]) -> None:
        """Keep the probes and start the loggers' sinks."""
        folder = self.folder
        if folder is not None and probes is not None:
            written = attempt(lambda: probes.save(folder / PROBES))
            if written.error:
                self._not_written(written.error)
        opened = attempt(partial(sinks, folder))
        if opened.error:
            self.failures.add("logging", f"{opened.error}. Results go to files only.")
        for sink in opened.value or []:
            if self._tell(sink, partial(sink.start, self.record)):
                self._sinks.append(sink)

    def keep(self, measurement: Measurement, bank: ReferenceBank, host_step: int) -> None:
        """Add a measurement to the record, write all, and log it."""
        meta = measurement.profile.meta
        self.record.config.update({key: meta[key] for key in ("num_layers", "layers", "reference", "reference_digest")})
        self.record.config["model_name"] = meta.get("model_name", "")
        added = attempt(partial(self.record.add, measurement))
        if added.error:
            self.failures.add("measurement", f"at step {measurement.step}: {added.error}")
            return
        self.write(bank)
        for sink in self._sinks:
            self._tell(sink, partial(sink.log, measurement, self.record, host_step))

    def write(self, bank: ReferenceBank | None) -> None:
        """Write reference, record and report to the folder, each whole or not at all."""
        if self.folder is None or not self.record.measurements or self._written == self._content():
            return
        written = attempt(partial(self._write, self.folder, bank))
        if written.error:
            self._not_written(written.error)
        else:
            self._written = self._content()

    def finish(self, status: str, bank: ReferenceBank | None) -> None:
        """Write and close what has measurements."""
        if not self.record.measurements:
            return
        self.write(bank)
        for sink in self._sinks:
            self._tell(sink, partial(sink.finish, self.record, status))

    def _content(self) -> tuple[int, dict[str, Any]]:
        """Tells whether there is anything new to write: to draw the report once more takes as long as a measurement."""
        return len(self.record), copy.deepcopy(self.record.config)

    def _write(self, folder: Path, bank: ReferenceBank | None) -> None:
        if bank is not None and not self._bank_written:
            if not (folder / REFERENCE).exists():
                bank.save(folder / REFERENCE, dtype="float32" if bank.kind == "gram" else None)
            self.record.config["reference_folder"] = str((folder / REFERENCE).absolute())
            self._bank_written = True
        self.record.save(folder)
        if self.report:
            from lightning_layerscope.sinks.report import write_report

            write_report(self.record, folder / REPORT)

    def _not_written(self, error: str) -> None:
        self.failures.add(
            "writing",
            f"{error}. Results stay in memory, and the next measurement writes all of them; "
            f"make room in {self.folder}.",
        )

    def _tell(self, sink: Any, call: Callable[[], Any]) -> bool:
        told = attempt(call)
        if told.error:
            self.failures.add(type(sink).__name__, f"{told.error}. The results are in {self.folder or 'memory'}.")
        return not told.error
