"""``layerscope report --watch``: the page of runs that go on."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_layerscope.commands.stored import load_record
from lightning_layerscope.wording import count

if TYPE_CHECKING:
    from lightning_layerscope.measurements import RunRecord


def watch(sources: Mapping[str, Path], page: Path, *, title: str, seconds: float) -> None:
    """Write the page now and whenever a measurement comes; ends when it is interrupted.

    Args:
        sources: Name of a run to its folder or profile; a folder may still be without a measurement.
        page: Of the HTML file.
        title: Over it.
        seconds: Between two looks at the folders; an open page loads itself again as often.
    """
    from lightning_layerscope.sinks.report import write_comparison

    print(f"watching {', '.join(map(str, sources.values()))}; Ctrl-C ends it", flush=True)
    seen: object = None
    while True:
        state = {name: _files(source) for name, source in sources.items()}
        if state != seen:
            seen = state
            if records := _load(sources):
                write_comparison(records, page, title=title, follow=seconds)
                measured = sum(len(record) for record in records.values())
                print(f"report: {page} ({count(measured, 'measurement')})", flush=True)
        time.sleep(seconds)


def _load(sources: Mapping[str, Path]) -> dict[str, RunRecord] | None:
    """All records; ``None`` with a word where one cannot be read yet, for the next look may find it whole."""
    try:
        with warnings.catch_warnings():
            # A measurement that is being written while we read is no reason to warn: the next look has it.
            warnings.simplefilter("ignore", UserWarning)
            records = {name: load_record(source) for name, source in sources.items()}
    except (OSError, ValueError) as error:
        print(f"waiting: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        return None
    empty = [str(sources[name]) for name, record in records.items() if not record.measurements]
    if empty:
        print(f"waiting for the first measurement in {', '.join(empty)}", flush=True)
        return None
    return records


def _files(source: Path) -> list[tuple[str, int, int]]:
    """What tells that a source has changed: names, sizes and times of the files that a record is read from."""
    from lightning_layerscope.measurements.storage import WRITTEN

    files = [source] if source.is_file() else [path for name in WRITTEN for path in _below(source / name)]
    return sorted((str(path), *_changes(path)) for path in files)


def _changes(path: Path) -> tuple[int, int]:
    """Size and time of a file; zeros where it is not there, or no longer."""
    try:
        known = path.stat()
    except FileNotFoundError:
        return 0, 0
    return known.st_size, known.st_mtime_ns


def _below(path: Path) -> list[Path]:
    return list(path.iterdir()) if path.is_dir() else [path]
