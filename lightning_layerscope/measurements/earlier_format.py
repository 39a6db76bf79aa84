"""Records of format 1, which kept all measurements in three files without digests: read, and made room for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load_file

from lightning_layerscope.json_files import read_json
from lightning_layerscope.measurements.files import PROFILE, unpack
from lightning_layerscope.measurements.measurement import Measurement
from lightning_layerscope.profiles import LayerProfile

FORMAT = 1
MATRICES = "matrices.safetensors"
KEPT = "profile-format-1.parquet"
"""Name of the file of all rows once the folder of that name is there."""


def read_config(path: Path) -> dict[str, Any] | None:
    """The content of a ``config.json`` of this format; ``None`` where it is of another one."""
    try:
        content = read_json(path)
        earlier = content["format"] == FORMAT and {"run_id", "measurements", "config", "rewound"} <= set(content)
    except (ValueError, KeyError, TypeError):
        return None
    return content if earlier else None


def read_measurements(folder: Path, content: dict[str, Any]) -> list[Measurement]:
    """The measurements that the content of ``config.json`` lists.

    Raises:
        FileNotFoundError: If a file is gone.
        ValueError: If a file is damaged.
    """
    entries = content["measurements"]
    if not entries:
        return []
    profile = LayerProfile.from_parquet(folder / KEPT if (folder / KEPT).is_file() else folder / PROFILE)
    try:
        matrices = load_file(folder / MATRICES)
    except SafetensorError as error:
        raise ValueError(f"the matrices of the record in {folder} are damaged ({error}); restore {MATRICES}") from error
    if lost := sorted({int(entry["step"]) for entry in entries} - set(profile.steps)):
        raise ValueError(f"expected rows of steps {lost} in {folder / PROFILE}, got none; restore the file")
    measurements = []
    for entry in entries:
        rows = profile.at_step(int(entry["step"]))
        rows = LayerProfile(rows.frame, {**rows.meta.to_dict(), **entry["meta"]})
        prefix = f"{entry['step']}/"
        own = {key.removeprefix(prefix): matrix for key, matrix in matrices.items() if key.startswith(prefix)}
        measurements.append(unpack(entry, rows, own))
    return measurements


def make_room(folder: Path) -> None:
    """Free the name of the file of all rows for the folder that takes its place; the file stays under another name."""
    if (folder / PROFILE).is_file():
        (folder / PROFILE).replace(folder / KEPT)
