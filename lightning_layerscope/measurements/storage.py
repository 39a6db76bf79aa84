"""A run's record on disk: what it costs to add a measurement does not depend on how many there are."""

from __future__ import annotations

import itertools
import json
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_layerscope.measurements import earlier_format
from lightning_layerscope.measurements.files import (
    ENTRIES,
    MATRICES,
    PROFILE,
    SUFFIXES,
    part,
    read_entry,
    read_measurement,
    steps_of,
    write_measurement,
)
from lightning_layerscope.sealed import DamagedFileError, read_sealed, write_sealed
from lightning_layerscope.wording import count

if TYPE_CHECKING:
    from lightning_layerscope.measurements.record import RunRecord

CONFIG, GIVEN_UP, FORMAT = "config.json", "given-up", 2
FOLDERS = tuple(SUFFIXES)
"""Folders with one file per measurement."""

WRITTEN = (CONFIG, GIVEN_UP, *FOLDERS)
"""Names of all files and folders of a record."""


def save(record: RunRecord, folder: str | Path) -> Path:
    """Write what the folder does not hold yet; each file appears whole or not at all.

    A measurement is written once: its rows, its matrices, and last its entry, with which it counts. If the process ends
    in between, :func:`load` gives the record without it. Files that were deleted meanwhile are written again, and those
    of measurements that :meth:`RunRecord.rewind` dropped are moved to ``given-up/``.

    Args:
        record: The run.
        folder: Its folder; other files in it (a report, a bank) are left alone.

    Returns:
        The folder.

    Raises:
        FileExistsError: If the folder holds another run, or measurements of this run that ``record`` does not have (it
            was not loaded on resume), which would be lost.
    """
    target = Path(folder)
    known = record.saved.setdefault(str(target.absolute()), {})
    there = steps_of(target, ENTRIES)
    content = _check_free(record, target, there, saved_before=bool(known))
    earlier = content is not None and content["format"] == earlier_format.FORMAT
    current = {measurement.step: measurement for measurement in record.measurements}
    given_up = [step for step in there if known.get(step) is not current.get(step, record)]
    _give_up(target, given_up)
    config = {"format": FORMAT, "run_id": record.run_id, "config": record.config, "rewound": record.rewound}
    if earlier:
        earlier_format.make_room(target)
    elif json.dumps(config) != json.dumps(content):
        write_sealed(target / CONFIG, config)
    complete = set(there).difference(given_up).intersection(*(steps_of(target, kind) for kind in (PROFILE, MATRICES)))
    for step, measurement in current.items():
        if step not in complete:
            write_measurement(measurement, target, record.run_id)
            known[step] = measurement
    if earlier:  # until here the folder reads as it did before
        write_sealed(target / CONFIG, config)
    return target


def load(folder: str | Path, make: type[RunRecord]) -> RunRecord:
    """Read a record back; every byte of it is verified.

    Rows or matrices of a measurement that was not completed are not part of the record; a warning names its step.

    Args:
        folder: Its folder.
        make: The class of records, which imports this file and not the other way round.

    Raises:
        FileNotFoundError: If there is no record, or a file of it is gone.
        ValueError: If a file is damaged, of another run, or of a later format.
    """
    source = Path(folder)
    content = read_config(source) or _without_config(source)
    record = make(content["config"], run_id=content["run_id"])
    record.rewound = list(content["rewound"])
    if content["format"] == earlier_format.FORMAT:
        for measurement in earlier_format.read_measurements(source, content):
            record.add(measurement)
        return record
    steps = steps_of(source, ENTRIES)
    for entry in (read_entry(source, step) for step in steps):
        if entry["run_id"] != record.run_id:
            raise ValueError(
                f"expected measurements of run {record.run_id}, got one of {entry['run_id']} in "
                f"{part(source, ENTRIES, int(entry['step']))}; move it to that run's folder"
            )
        record.add(read_measurement(source, entry))
    record.saved[str(source.absolute())] = {measurement.step: measurement for measurement in record.measurements}
    unfinished = {step for kind in (PROFILE, MATRICES) for step in steps_of(source, kind)} - set(steps)
    if unfinished:
        warnings.warn(
            f"the measurement of step {min(unfinished)} in {source} was not completed and is left out", stacklevel=3
        )
    return record


def _without_config(folder: Path) -> dict[str, Any]:
    """What stands for ``config.json`` where it is gone: the measurements say which run they are of."""
    run_id = owner(folder) if folder.is_dir() else None
    if run_id is None:
        raise FileNotFoundError(f"expected a run's record in {folder}, got no {CONFIG} there")
    warnings.warn(
        f"{folder / CONFIG} is gone: how the run was configured is unknown, its measurements are", stacklevel=4
    )
    return {"format": FORMAT, "run_id": run_id, "config": {}, "rewound": []}


def read_config(folder: Path) -> dict[str, Any] | None:
    """The content of ``config.json``, or ``None`` where there is none.

    Raises:
        ValueError: If it is damaged, something else, or of a later format.
    """
    path = folder / CONFIG
    if not path.is_file():
        return None
    if earlier := earlier_format.read_config(path):
        return earlier
    try:
        content = read_sealed(
            path,
            "restore it from a copy, or delete it to go on with the measurements alone, without their configuration",
        )
        version, _ = content["format"], content["run_id"]
    except (DamagedFileError, KeyError) as error:
        raise ValueError(f"expected a run's record in {path}, got something else or a damaged file: {error}") from error
    if version != FORMAT:
        raise ValueError(f"expected record format {FORMAT}, got {version} in {folder}; use a later version")
    return content


def owner(folder: Path) -> str | None:
    """The id of the run that a folder belongs to, also where its ``config.json`` is gone or damaged.

    Returns:
        The id; ``None`` where the folder holds no run.

    Raises:
        ValueError: If it holds a run's files, but none that says which run.
    """
    try:
        if content := read_config(folder):
            return str(content["run_id"])
        problem = f"{folder} holds a {PROFILE} of something else" if (folder / PROFILE).exists() else ""
    except ValueError as error:
        problem = str(error)
    for step in steps_of(folder, ENTRIES):
        try:
            return str(read_entry(folder, step)["run_id"])
        except DamagedFileError as error:
            problem = str(error)
    if problem:
        raise ValueError(problem)
    return None


def _check_free(record: RunRecord, folder: Path, there: list[int], *, saved_before: bool) -> dict[str, Any] | None:
    """Refuse a folder that the record may not write to.

    Args:
        record: The run.
        folder: Its folder.
        there: The steps with an entry in the folder.
        saved_before: Whether this process has written to it.

    Returns:
        Its configuration; None where it has none that can be read.
    """
    content, run_id = None, None
    with suppress(ValueError):  # the measurements may still say which run it is
        content = read_config(folder)
    try:
        run_id = owner(folder) if content is None else str(content["run_id"])
    except ValueError as error:
        if not saved_before:
            raise FileExistsError(f"{folder} is not written to: {error}; choose another folder") from error
    if run_id not in (None, record.run_id):
        raise FileExistsError(
            f"{folder} holds another run ({run_id}, {count(len(_measured(content, there)), 'measurement')}); "
            "choose another folder, or continue that run with RunRecord.load"
        )
    given_up = {step for event in record.rewound for step in event["dropped"]}
    lost = sorted(set(_measured(content, there)) - set(record.steps) - given_up)
    if lost:
        raise FileExistsError(
            f"{folder} holds measurements of this run that the record does not have (steps {lost}); load it first, and "
            "call rewind(step) where training went back"
        )
    return content


def _measured(content: dict[str, Any] | None, there: list[int]) -> list[int]:
    if content is not None and content["format"] == earlier_format.FORMAT:
        return [int(entry["step"]) for entry in content["measurements"]]
    return there


def _give_up(folder: Path, steps: list[int]) -> None:
    """Move the files of measurements that training went back behind out of the way, the entries first."""
    if not steps:
        return
    aside = next(
        folder / GIVEN_UP / str(number)
        for number in itertools.count(1)
        if not (folder / GIVEN_UP / str(number)).exists()
    )
    for kind in reversed(SUFFIXES):
        (aside / kind).mkdir(parents=True)
        for step in steps:
            if part(folder, kind, step).is_file():
                part(folder, kind, step).replace(part(aside, kind, step))
