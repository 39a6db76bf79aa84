"""A profile as one parquet file: its meta in the schema, with a digest over meta and rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lightning_layerscope.atomic import replace_file
from lightning_layerscope.profiles.meta import ProfileMeta
from lightning_layerscope.profiles.schema import COLUMNS
from lightning_layerscope.sealed import DamagedFileError

KEY = b"lightning_layerscope.profile.2"
"""Schema key of the digest and, after a line break, of the meta as JSON."""

KEY_WITHOUT_DIGEST = b"lightning_layerscope.profile"
"""Schema key of the meta in files of earlier versions, whose rows cannot be verified."""

MOST_MEASURES = 64
"""No profile has more measures: with tasks, layers and steps they bound how many rows a file may hold."""


def write(frame: pd.DataFrame, meta: ProfileMeta, path: str | Path) -> Path:
    """Write rows and meta, whole or not at all."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    text = json.dumps(meta.to_dict())
    described = {**(table.schema.metadata or {}), KEY: f"{_digest(frame, table, text)}\n{text}".encode()}
    # Names repeat and numbers hardly do: to encode them costs as much again, and makes the file larger.
    repeating = [column for column, kind in COLUMNS.items() if kind != "float64"]
    with replace_file(path) as passing:
        pq.write_table(table.replace_schema_metadata(described), passing, use_dictionary=repeating)
    return Path(path)


def read(path: str | Path) -> tuple[pd.DataFrame, ProfileMeta]:
    """Read rows and meta, and verify them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no parquet file, holds no profile, claims more rows than a profile can have, or was
            changed after it was written.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"expected a profile at {path}, got no such file")
    advice = "restore the file from a copy, or write the profile again"
    try:
        with pq.ParquetFile(path) as file:
            known = file.schema_arrow.metadata or {}
            if KEY not in known and KEY_WITHOUT_DIGEST not in known:
                raise ValueError(
                    f"expected a profile written by LayerProfile.to_parquet in {path}, got another parquet file"
                )
            digest, _, text = (
                known[KEY].decode().partition("\n") if KEY in known else ("", "", known[KEY_WITHOUT_DIGEST])
            )
            content: dict[str, Any] = json.loads(text)
            _check_rows_claimed(path, file.metadata, content)
            table = file.read()
            frame: pd.DataFrame = table.to_pandas()
            verified = not digest or digest == _digest(frame, table, text)
    except (
        pa.ArrowException,
        OSError,
        KeyError,
        TypeError,
        UnicodeDecodeError,
        json.JSONDecodeError,
        RecursionError,
    ) as error:
        raise DamagedFileError(
            f"expected a profile (parquet) in {path}, got a damaged or other file: {error}; {advice}"
        ) from error
    if not verified:
        raise DamagedFileError(f"the profile in {path} is damaged or was changed after it was written; {advice}")
    return frame, ProfileMeta.from_dict(content)


def _check_rows_claimed(path: str | Path, described: pq.FileMetaData, content: Mapping[str, Any]) -> None:
    """Refuse a small file that would unpack to a huge table, before any row of it is read.

    No two rows share a cell, so tasks x layers x measures x steps bound their number.
    """
    column = list(COLUMNS).index("step")
    ranges = [described.row_group(group).column(column).statistics for group in range(described.num_row_groups)]
    ends = [end for bounds in ranges if bounds is not None and bounds.has_min_max for end in (bounds.min, bounds.max)]
    steps = max(ends) - min(ends) + 1 if ends else 1
    most = len(content["tasks"]) * len(content["layers"]) * MOST_MEASURES * steps
    if described.num_rows > most:
        raise ValueError(
            f"expected at most {most:,} rows in the profile {path}, for its tasks, layers and steps, got "
            f"{described.num_rows:,}; nothing of it was read"
        )


def _as_json(texts: pa.ChunkedArray) -> bytes:
    """What ``json.dumps`` makes of the list; names repeat in every row, and each is encoded once."""
    names = texts.dictionary_encode("encode").combine_chunks()
    plain = [float("nan") if name is None else name for name in names.dictionary.to_pylist()]
    encoded = pa.array([json.dumps(name).encode() for name in plain], pa.large_binary())
    cells = pa.ListArray.from_arrays(pa.array([0, len(names)], pa.int32()), encoded.take(names.indices))
    joined: bytes = pc.binary_join(cells, pa.scalar(b", ", pa.large_binary()))[0].as_py()
    return b"[" + joined + b"]"


def _digest(frame: pd.DataFrame, table: pa.Table, meta: str) -> str:
    """Of the meta's text and of every cell, whatever the file's encoding; the table holds the frame's rows."""
    digest = hashlib.sha256(meta.encode())
    for name, kind in COLUMNS.items():
        if kind == "text":
            cells = _as_json(table[name])
        else:
            numbers = frame[name].to_numpy().astype(f"<{kind[0]}8")
            if numbers.dtype.kind == "f":
                numbers[np.isnan(numbers)] = np.nan  # a computed NaN may have other bits than one that is read back
            cells = numbers.tobytes()
        digest.update(f"{name} {len(cells)}\n".encode())
        digest.update(cells)
    return digest.hexdigest()
