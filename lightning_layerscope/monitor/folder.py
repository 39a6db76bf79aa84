"""Where a run's results lie, and how a resumed run finds them again."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lightning_layerscope.measurements import RunRecord
from lightning_layerscope.measurements.storage import FOLDERS, WRITTEN, read_config
from lightning_layerscope.references import ReferenceBank

REFERENCE, PROBES, REPORT = "reference", "probes.json", "report.html"
_WRITTEN = (*WRITTEN, REFERENCE, PROBES, REPORT)


@dataclass(frozen=True)
class Resumed:
    """What a checkpoint led back to.

    Attributes:
        record: The measurements up to the checkpoint's step.
        bank: The run's reference.
        folder: Where they were found.
    """

    record: RunRecord
    bank: ReferenceBank
    folder: Path


def prompts_to_upload(folder: Path | None, wanted: bool) -> Path | Literal[False]:
    """The file of prompts, where it is wanted and could be written (a failure to write it was told by then)."""
    return folder / PROBES if wanted and folder is not None and (folder / PROBES).is_file() else False


def free_folder(wanted: Path, run_id: str) -> Path:
    """The wanted folder, or the first of its siblings ``-2``, ``-3``, ... that holds no other run's results."""
    for number in itertools.count(1):
        place = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        if not place.exists() or _is_own(place, run_id) or (place.is_dir() and not any(place.iterdir())):
            return place
    raise AssertionError("unreachable")


def find_resumed(state: dict[str, Any], places: list[Path], step: int) -> Resumed | str:
    """Look for the record and the reference of a checkpoint's run.

    Args:
        state: What the checkpoint kept: ``run_id``, ``reference_digest``, ``folder``.
        places: Folders to look in, in order.
        step: The checkpoint's step; later measurements were given up and will be taken anew.

    Returns:
        What was found, or in words why not.
    """
    reasons = []
    for place in dict.fromkeys(places):
        try:
            if not _is_own(place, state["run_id"]):
                reasons.append(f"{place} does not hold this run")
                continue
            bank = ReferenceBank.load(place / REFERENCE)
            if bank.digest != state["reference_digest"]:
                reasons.append(f"{place / REFERENCE} is not the reference that the checkpoint names")
                continue
            record = RunRecord.load(place)
        except (OSError, ValueError) as error:
            reasons.append(str(error))
            continue
        record.rewind(step)
        return Resumed(record, bank, place)
    return "; ".join(reasons)


def clear_passing(place: Path) -> None:
    """Remove what a killed process was writing when it died: files and folders under their passing names."""
    left = [path for path in place.glob(".*") if path.name.startswith(tuple(f".{name}." for name in _WRITTEN))]
    for path in [*left, *(path for folder in FOLDERS for path in (place / folder).glob(".step-*"))]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _is_own(place: Path, run_id: str) -> bool:
    try:
        found = read_config(place)
    except ValueError:
        return False
    return found is not None and found["run_id"] == run_id
