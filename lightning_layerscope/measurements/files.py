"""The files of one measurement: its rows, its matrices, and an entry that names and verifies both."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from lightning_layerscope.atomic import replace_file
from lightning_layerscope.measurements.alert import Alert
from lightning_layerscope.measurements.behaviour import Behaviour, scores_from_json, scores_to_json
from lightning_layerscope.measurements.measurement import Measurement
from lightning_layerscope.profiles import LayerProfile
from lightning_layerscope.sealed import DamagedFileError, file_digest, read_sealed, write_sealed
from lightning_layerscope.transitions import SignalTable, Transition

ENTRIES, PROFILE, MATRICES = "measurements", "profile.parquet", "matrices"
"""Folders with one file per measurement. A reader of parquet takes ``profile.parquet`` for one table."""

SUFFIXES = {PROFILE: ".parquet", MATRICES: ".safetensors", ENTRIES: ".json"}
"""Folder -> suffix of its files, in the order in which they are written: a measurement is there when its entry is."""

_NAME = re.compile(r"step-(\d+)\.")


def part(folder: Path, kind: str, step: int) -> Path:
    """Where one file of a measurement lies."""
    return folder / kind / f"step-{step:010d}{SUFFIXES[kind]}"


def steps_of(folder: Path, kind: str) -> list[int]:
    """The steps that have a file of this kind, increasing."""
    if not (folder / kind).is_dir():
        return []
    with os.scandir(folder / kind) as files:
        names = [_NAME.match(file.name) for file in files if file.name.endswith(SUFFIXES[kind])]
    return sorted(int(name[1]) for name in names if name)


def write_measurement(measurement: Measurement, folder: Path, run_id: str) -> None:
    """Write the three files, each whole or not at all, the entry last."""
    rows, matrices = (part(folder, kind, measurement.step) for kind in (PROFILE, MATRICES))
    measurement.profile.to_parquet(rows)
    with replace_file(matrices) as passing:
        save_file(pack_matrices(measurement), passing)
    write_sealed(
        part(folder, ENTRIES, measurement.step),
        {
            "run_id": run_id,
            **describe(measurement),
            "files": {path.relative_to(folder).as_posix(): file_digest(path) for path in (rows, matrices)},
        },
    )


def read_entry(folder: Path, step: int) -> dict[str, Any]:
    """The entry of one measurement.

    Raises:
        DamagedFileError: If it is not as it was written.
    """
    return read_sealed(part(folder, ENTRIES, step), _advice(folder, step))


def read_measurement(folder: Path, entry: Mapping[str, Any]) -> Measurement:
    """Read the measurement of an entry; every byte is verified.

    Raises:
        FileNotFoundError: If one of its files is gone.
        DamagedFileError: If one of its files is not as it was written.
    """
    step = int(entry["step"])
    for name, digest in entry["files"].items():
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"expected {folder / name}, which belongs to step {step}, got no such file; {_advice(folder, step)}"
            )
        if file_digest(folder / name) != digest:
            raise DamagedFileError(
                f"{folder / name} is damaged or was changed after it was written; {_advice(folder, step)}"
            )
    profile = LayerProfile.from_parquet(part(folder, PROFILE, step))
    return unpack(entry, profile, load_file(part(folder, MATRICES, step)))


def describe(measurement: Measurement) -> dict[str, Any]:
    """What an entry says of a measurement, in plain values."""
    return {
        "step": measurement.step,
        "seconds": measurement.seconds,
        "overhead": None if math.isnan(measurement.overhead) else measurement.overhead,
        "warnings": measurement.warnings,
        "transition": measurement.transition.to_dict(),
        "signals": None if measurement.signals is None else measurement.signals.to_dict(),
        "scores": scores_to_json(measurement.behaviour.scores),
        "alerts": [vars(alert) for alert in measurement.alerts],
    }


def unpack(entry: Mapping[str, Any], profile: LayerProfile, matrices: Mapping[str, NDArray[Any]]) -> Measurement:
    """The inverse of :func:`describe` and :func:`pack_matrices`."""

    def under(prefix: str) -> dict[str, NDArray[Any]]:
        return {key.removeprefix(prefix): np.asarray(m) for key, m in matrices.items() if key.startswith(prefix)}

    return Measurement(
        step=int(entry["step"]),
        profile=profile,
        transition=Transition.from_dict(entry["transition"]),
        layer_x_layer=matrices.get("layer_x_layer"),
        task_x_task={int(layer): matrix for layer, matrix in under("task_x_task/").items()},
        curves=under("curves/"),
        seconds=float(entry["seconds"]),
        overhead=math.nan if entry["overhead"] is None else float(entry["overhead"]),
        warnings=list(entry["warnings"]),
        signals=SignalTable.from_dict(entry["signals"]) if entry.get("signals") else None,
        behaviour=Behaviour(under("rows/"), scores_from_json(entry.get("scores", {})), under("baseline/")),
        alerts=[Alert(**alert) for alert in entry.get("alerts", ())],
    )


def pack_matrices(measurement: Measurement) -> dict[str, NDArray[Any]]:
    """The matrices by name."""
    packed = {f"task_x_task/{layer}": np.ascontiguousarray(matrix) for layer, matrix in measurement.task_x_task.items()}
    behaviour = measurement.behaviour
    for prefix, named in (("curves", measurement.curves), ("rows", behaviour.rows), ("baseline", behaviour.baseline)):
        packed |= {f"{prefix}/{name}": np.ascontiguousarray(each) for name, each in named.items()}
    if measurement.layer_x_layer is not None:
        packed["layer_x_layer"] = np.ascontiguousarray(measurement.layer_x_layer)
    return packed


def _advice(folder: Path, step: int) -> str:
    names = ", ".join(str(part(folder, kind, step).relative_to(folder)) for kind in SUFFIXES)
    return f"restore it from a copy, or delete {names} to go on without the measurement of step {step}"
