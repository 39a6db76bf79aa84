"""Where stages leave their results: one folder per stage and fingerprint, there whole or not at all."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning_layerscope._extras import require
from lightning_layerscope.atomic import replace_folder

RECORD = "stage.json"


@dataclass(frozen=True)
class Stage:
    """One step of a study.

    Attributes:
        name: Kind and subject, e.g. ``"control:sst2"``.
        settings: All that its result depends on besides its inputs; plain JSON values.
        needs: The stages whose results it reads.
        trains: Whether it trains a model (for the cost estimate).
    """

    name: str
    settings: Mapping[str, Any]
    needs: tuple[Stage, ...] = ()
    trains: bool = False

    @property
    def kind(self) -> str:
        """What is done, e.g. ``"control"``."""
        return self.name.partition(":")[0]

    @cached_property
    def fingerprint(self) -> str:
        """Digest of everything the result depends on: 64 hexadecimal digits."""
        content = {
            "name": self.name,
            "settings": self.settings,
            "needs": sorted(need.fingerprint for need in self.needs),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def need(self, name: str) -> Stage:
        """The input stage of that name.

        Raises:
            KeyError: If the stage does not declare it.
        """
        for stage in self.needs:
            if stage.name == name:
                return stage
        raise KeyError(
            f"stage {self.name!r} does not declare {name!r} as an input; it declares {[s.name for s in self.needs]}"
        )


class StageBusyError(RuntimeError):
    """Another runner is at the stage."""


class Store:
    """The folder of a study.

    Args:
        root: Made when it is not there.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        for folder in (self.stages, self.locks):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def stages(self) -> Path:
        """Finished stages."""
        return self.root / "stages"

    @property
    def locks(self) -> Path:
        """One lock file per stage."""
        return self.root / "locks"

    def folder(self, stage: Stage) -> Path:
        """Where the stage's result is, or will be."""
        return self.stages / _folder_name(stage)

    def done(self, stage: Stage) -> bool:
        """Whether the result is there."""
        return (self.folder(stage) / RECORD).is_file()

    def busy(self, stage: Stage) -> bool:
        """Whether another runner is at the stage now."""
        lock = self._lock(stage)
        try:
            with lock.acquire(timeout=0):
                return False
        except _filelock().Timeout:
            return True

    @contextmanager
    def produce(self, stage: Stage, *, wait: bool = True) -> Iterator[Path | None]:
        """Make a stage's result: yields an empty folder to fill, or None where another runner finished it meanwhile.

        The folder gets its place when the block ends well, and is removed when it does not. A second runner of the same
        stage waits for the first; the lock of a killed runner is released by the operating system.

        Raises:
            StageBusyError: If another runner is at it and `wait` is false.
        """
        lock = self._lock(stage)
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except _filelock().Timeout:
            raise StageBusyError(f"another runner is at stage {stage.name!r}") from None
        try:
            if self.done(stage):
                yield None
                return
            # We hold the lock: what a killed runner of this stage left is garbage now.
            for left in self.stages.glob(f".{_folder_name(stage)}.*"):
                shutil.rmtree(left, ignore_errors=True)
            with replace_folder(self.folder(stage), marker=RECORD) as work:
                yield work
                record = {"name": stage.name, "fingerprint": stage.fingerprint, "settings": dict(stage.settings)}
                record["needs"] = {need.name: need.fingerprint for need in stage.needs}
                (work / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
        finally:
            lock.release()

    def _lock(self, stage: Stage) -> Any:
        return _filelock().FileLock(str(self.locks / f"{_folder_name(stage)}.lock"))


def _filelock() -> Any:
    return require("filelock", extra="study")


def _folder_name(stage: Stage) -> str:
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '.', stage.name)[:80]}-{stage.fingerprint[:16]}"
