"""A run's folder: whose it is, so that no two runs write to one."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

from lightning_layerscope.drawing.passing import PASSING
from lightning_layerscope.json_files import read_json
from lightning_layerscope.measurements.storage import FOLDERS, WRITTEN, owner

OWNER, REFERENCE, PROMPTS, REPORT = "run.json", "reference", "probes.json", "report.html"
_WRITTEN = (*WRITTEN, OWNER, REFERENCE, PROMPTS, REPORT)


def reserve(wanted: Path, run_id: str) -> Path:
    """Take the wanted folder, or the first of its siblings ``-2``, ``-3``, ... that is no other run's.

    The file ``run.json`` says whose a folder is. It is made in one step of the file system that fails where it is
    there, so that of several runs that start at the same moment each gets a folder of its own.

    Raises:
        OSError: When folders cannot be made there.
    """
    for number in itertools.count(1):
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        if _claim(folder, run_id):
            return folder
    raise AssertionError("unreachable")


def is_own(folder: Path, run_id: str) -> bool:
    """Whether a folder holds this run's results; False also where that cannot be read."""
    return _owner(folder) == run_id


def clear_passing(folder: Path) -> None:
    """Remove what a killed process was writing when it died: files and folders under their passing names."""
    names = (PASSING, *(f".{name}." for name in _WRITTEN))
    left = [path for path in folder.glob(".*") if path.name.startswith(names)]
    for path in [*left, *(path for kind in FOLDERS for path in (folder / kind).glob(".step-*"))]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def move_aside(path: Path) -> None:
    """Give a damaged file or folder another name, so that a whole one can take its place."""
    for number in itertools.count(1):
        aside = path.with_name(f"{path.name}-damaged-{number}")
        if not aside.exists():
            path.rename(aside)
            return


def _claim(folder: Path, run_id: str) -> bool:
    """Whether the folder is this run's from now on."""
    if folder.exists() and not folder.is_dir():
        return False
    folder.mkdir(parents=True, exist_ok=True)
    owner = _owner(folder)
    if owner is None and any(folder.iterdir()):
        return False
    if owner not in (None, run_id):
        return False
    if owner == run_id and (folder / OWNER).exists():
        return True
    try:  # nobody's a moment ago: where the file is there now, another run has been quicker
        with (folder / OWNER).open("x", encoding="utf-8") as file:
            file.write(json.dumps({"run_id": run_id}) + "\n")
    except FileExistsError:
        return False
    return True


def _owner(folder: Path) -> str | None:
    """The id of the run whose folder this is: None for nobody's, empty where it cannot be told."""
    try:
        return str(read_json(folder / OWNER)["run_id"])
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # damaged, or being written at this very moment
    try:
        return owner(folder)
    except (OSError, ValueError):
        return ""
