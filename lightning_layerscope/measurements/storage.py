"""A run's record on disk."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from lightning_layerscope.atomic import replace_file
from lightning_layerscope.measurements.measurement import Measurement
from lightning_layerscope.measurements.record import RunRecord
from lightning_layerscope.profiles import LayerProfile
from lightning_layerscope.transitions import Transition

CONFIG, PROFILE, MATRICES, FORMAT = "config.json", "profile.parquet", "matrices.safetensors", 1


def save(record: RunRecord, folder: str | Path) -> Path:
    """Write a record; each file appears whole or not at all, ``config.json`` last.

    A measurement counts when ``config.json`` lists it. If the process ends between the files, :func:`load` gives the
    record as it was before.

    Args:
        record: the run.
        folder: its folder; other files in it (a report, a bank) are left alone.

    Raises:
        FileExistsError: if the folder holds another run, or measurements of this run that ``record`` does not have (it
            was not loaded on resume), which would be lost.
    """
    place = Path(folder)
    _check_free(record, place)
    place.mkdir(parents=True, exist_ok=True)
    if record.measurements:
        record.profile.to_parquet(place / PROFILE)
        tensors: dict[str, Any] = {}
        for measurement in record.measurements:
            if measurement.layer_x_layer is not None:
                tensors[f"{measurement.step}/layer_x_layer"] = np.ascontiguousarray(measurement.layer_x_layer)
            for layer, matrix in measurement.task_x_task.items():
                tensors[f"{measurement.step}/task_x_task/{layer}"] = np.ascontiguousarray(matrix)
        with replace_file(place / MATRICES) as passing:
            save_file(tensors, passing)
    entries = [
        {
            "step": measurement.step,
            "seconds": measurement.seconds,
            "overhead": measurement.overhead,
            "warnings": measurement.warnings,
            "meta": {key: measurement.profile.meta[key] for key in ("warnings", "notes")},
            "transition": measurement.transition.to_dict(),
        }
        for measurement in record.measurements
    ]
    content = {
        "format": FORMAT,
        "run_id": record.run_id,
        "config": record.config,
        "rewound": record.rewound,
        "measurements": entries,
    }
    text = json.dumps(content, indent=1)
    with replace_file(place / CONFIG) as passing:
        passing.write_text(text, encoding="utf-8")
    return place


def load(folder: str | Path) -> RunRecord:
    """Read a record back.

    Rows or matrices of a measurement that was not completed are not part of the record; a warning names its step.

    Raises:
        FileNotFoundError: if there is no record, or a file of it is gone.
        ValueError: if a file is damaged, or of a later format.
    """
    place = Path(folder)
    content = read_config(place)
    if content is None:
        raise FileNotFoundError(f"expected a run's record in {place}, got no {CONFIG} there")
    record = RunRecord(content["config"], run_id=content["run_id"])
    record.rewound = list(content["rewound"])
    if not content["measurements"]:
        return record
    profile = LayerProfile.from_parquet(place / PROFILE)
    try:
        matrices = load_file(place / MATRICES)
    except SafetensorError as error:
        raise ValueError(f"the matrices of the record in {place} are damaged ({error}); restore {MATRICES}") from error
    listed = [int(entry["step"]) for entry in content["measurements"]]
    lost = sorted(set(listed) - set(profile.steps))
    if lost:
        raise ValueError(f"expected rows of steps {lost} in {place / PROFILE}, got none; restore the file")
    unfinished = sorted(set(profile.steps) - set(listed))
    if unfinished:
        warnings.warn(
            f"the measurement of step {unfinished[0]} in {place} was not completed and is left out", stacklevel=3
        )
    for entry in content["measurements"]:
        record.add(_measurement(entry, profile, matrices))
    return record


def read_config(folder: Path) -> dict[str, Any] | None:
    """The content of ``config.json``, or ``None`` where there is none.

    Raises:
        ValueError: if it is damaged, something else, or of a later format.
    """
    if not (folder / CONFIG).is_file():
        return None
    try:
        content: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        version = content["format"]
        _ = content["run_id"], content["measurements"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"expected a run's record in {folder / CONFIG}, got something else or a damaged file"
        ) from error
    if version != FORMAT:
        raise ValueError(f"expected record format {FORMAT}, got {version} in {folder}; use a later version")
    return content


def _check_free(record: RunRecord, place: Path) -> None:
    try:
        there = read_config(place)
    except ValueError as error:
        raise FileExistsError(f"{place} is not written to: {error}; choose another folder") from error
    if there is None:
        if (place / PROFILE).exists() and not _own_start(place, record):
            raise FileExistsError(f"{place} holds a {PROFILE} of something else; choose another folder")
        return
    if there["run_id"] != record.run_id:
        raise FileExistsError(
            f"{place} holds another run ({there['run_id']}, {len(there['measurements'])} measurements); choose another "
            "folder, or continue that run with RunRecord.load"
        )
    given_up = {step for event in record.rewound for step in event["dropped"]}
    lost = sorted({int(entry["step"]) for entry in there["measurements"]} - set(record.steps) - given_up)
    if lost:
        raise FileExistsError(
            f"{place} holds measurements of this run that the record does not have (steps {lost}); load it first, and "
            "call rewind(step) where training went back"
        )


def _own_start(place: Path, record: RunRecord) -> bool:
    """Whether rows without a config are this very run's first measurement, cut off before it was complete."""
    if not record.measurements:
        return False
    try:
        found = LayerProfile.from_parquet(place / PROFILE)
    except ValueError:
        return False
    return len(found.steps) == 1 and found.meta["reference_digest"] == record.profile.meta["reference_digest"]


def _measurement(entry: dict[str, Any], profile: LayerProfile, matrices: dict[str, Any]) -> Measurement:
    step = int(entry["step"])
    rows = profile.at_step(step)
    rows.meta.update(entry["meta"])
    prefix = f"{step}/task_x_task/"
    return Measurement(
        step=step,
        profile=rows,
        transition=Transition.from_dict(entry["transition"]),
        layer_x_layer=matrices.get(f"{step}/layer_x_layer"),
        task_x_task={
            int(key.removeprefix(prefix)): matrix for key, matrix in matrices.items() if key.startswith(prefix)
        },
        seconds=float(entry["seconds"]),
        overhead=float(entry["overhead"]),
        warnings=list(entry["warnings"]),
    )
