"""Where stages leave their results: one folder per stage and fingerprint, there whole or not at all."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_layerscope._extras import require
from lightning_layerscope.atomic import replace_file, replace_folder
from lightning_layerscope.json_files import read_json
from lightning_layerscope.sealed import DamagedFileError
from lightning_layerscope.study.engine.digests import digest_files, first_damage
from lightning_layerscope.study.engine.stage import Stage

RECORD = "stage.json"
FORMAT = 2
_OWN_BOOKS = frozenset({"wandb"})
"""Folders that W&B keeps beside a training's result and may still write to when it is synchronised."""
AnyStage = Stage[Any, Any]


class StageBusyError(RuntimeError):
    """Another runner is at the stage."""


class DamagedResultError(DamagedFileError):
    """A stored result is not what was written; the message names the folder to delete."""


class Store:
    """The folder of a pipeline.

    Args:
        root: Made when it is not there.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._verified: set[str] = set()
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

    def folder(self, stage: AnyStage) -> Path:
        """Where the stage's result is, or will be."""
        return self.stages / _folder_name(stage)

    def done(self, stage: AnyStage) -> bool:
        """Whether the result is there."""
        return (self.folder(stage) / RECORD).is_file()

    def verified(self, stage: AnyStage) -> Path:
        """The folder of a finished stage, every byte of which is what was written; read once per process.

        Raises:
            FileNotFoundError: If there is no result.
            DamagedResultError: If a file changed, or the record of the files cannot be read.
        """
        folder = self.folder(stage)
        if not self.done(stage):
            raise FileNotFoundError(f"stage {stage.name!r} has no result in {folder}; run it first")
        if stage.fingerprint in self._verified:
            return folder
        try:
            damage = first_damage(folder, dict(read_json(folder / RECORD)["files"]))
        except (ValueError, KeyError, TypeError) as error:
            damage = f"{RECORD} cannot be used ({error})"
        if damage:
            raise DamagedResultError(
                f"the result of stage {stage.name!r} is damaged: {damage}. Delete this stage's folder, {folder}, and "
                "run the study again: it makes this stage anew and keeps the others"
            )
        self._verified.add(stage.fingerprint)
        return folder

    def foreign(self) -> int:
        """How many finished stages lie here that an earlier version of this package wrote, in its own format."""
        return sum(_format(record) != FORMAT for record in self.stages.glob(f"*/{RECORD}"))

    def busy(self, stage: AnyStage) -> bool:
        """Whether another runner is at the stage now."""
        lock = self._lock(_folder_name(stage))
        try:
            with lock.acquire(timeout=0):
                return False
        except _filelock().Timeout:
            return True

    @contextmanager
    def produce(self, stage: AnyStage, *, wait: bool = True) -> Iterator[Path | None]:
        """Make a stage's result: yields an empty folder to fill, or None where another runner finished it meanwhile.

        The folder gets its place when the block ends well, and is removed when it does not. A second runner of the same
        stage waits for the first; the lock of a killed runner is released by the operating system.

        Raises:
            StageBusyError: If another runner is at it and ``wait`` is false.
        """
        with self._alone(_folder_name(stage), self.stages, stage.name, wait=wait):
            if self.done(stage):
                yield None
                return
            with replace_folder(self.folder(stage), marker=RECORD) as work:
                yield work
                record = {
                    "format": FORMAT,
                    "name": stage.name,
                    "fingerprint": stage.fingerprint,
                    "settings": dict(stage.settings()),
                    "inputs": {each.name: each.fingerprint for each in stage.inputs},
                    "files": digest_files(work, without=_OWN_BOOKS),
                }
                (work / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")

    @contextmanager
    def replace(self, name: str, *, marker: str) -> Iterator[Path]:
        """Make a folder beside the stages anew: yields an empty folder that takes the older one's place.

        Args:
            name: Name of the folder.
            marker: A file in it; a folder without this file is never replaced.

        Raises:
            FileExistsError: If a folder of that name holds something else.
        """
        with (
            self._alone(name, self.root, name, wait=True),
            replace_folder(self.root / name, overwrite=True, marker=marker) as work,
        ):
            yield work

    def remember(self, name: str, content: Mapping[str, str]) -> None:
        """Keep a few words in a file beside the stages, whole or not at all."""
        with self._alone(name, self.root, name, wait=True), replace_file(self.root / name) as path:
            path.write_text(json.dumps(dict(content)), encoding="utf-8")

    def remembered(self, name: str) -> dict[str, str]:
        """What :meth:`remember` kept; nothing where the file is damaged, since it can be made anew."""
        try:
            content = read_json(self.root / name)
        except (OSError, ValueError):
            return {}
        return {str(key): str(value) for key, value in content.items()} if isinstance(content, dict) else {}

    @contextmanager
    def _alone(self, name: str, parent: Path, what: str, *, wait: bool) -> Iterator[None]:
        """Hold the lock of a folder that is about to be written, and remove what a killed writer of it left."""
        lock = self._lock(name)
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except _filelock().Timeout:
            raise StageBusyError(f"another runner is at {what!r}") from None
        try:
            for left in parent.glob(f".{name}.*"):
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.unlink(missing_ok=True)
            yield
        finally:
            lock.release()

    def _lock(self, name: str) -> Any:
        return _filelock().FileLock(str(self.locks / f"{name}.lock"))


def _filelock() -> Any:
    return require("filelock", extra="study")


def _folder_name(stage: AnyStage) -> str:
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '.', stage.name)[:80]}-{stage.fingerprint[:16]}"


def _format(record: Path) -> int:
    try:
        return int(read_json(record).get("format", 1))
    except (ValueError, TypeError, AttributeError):
        return FORMAT  # damaged, which is another matter
