"""A profile as one parquet file: its meta in the schema, with a digest over meta and rows."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lightning_layerscope.atomic import replace_file
from lightning_layerscope.profiles.meta import ProfileMeta
from lightning_layerscope.profiles.schema import COLUMNS
from lightning_layerscope.sealed import DamagedFileError
from lightning_layerscope.wording import count

KEY = b"lightning_layerscope.profile.3"
"""Schema key of the digest and, after a line break, of the meta as JSON."""

EARLIER_KEY = b"lightning_layerscope.profile.2"
"""The same in files of an earlier version, whose digest is over every cell's text."""

KEY_WITHOUT_DIGEST = b"lightning_layerscope.profile"
"""Schema key of the meta in files of the first version, whose rows cannot be verified."""

MOST_MEASURES = 64
"""No profile has more measures: with tasks, layers and steps they bound how many rows a file may hold."""

ROWS_AT_A_TIME = 1 << 16
"""Read before it is asked whether there may be so many."""

_LAST_TEXTS: dict[str, tuple[pa.Array, pa.DictionaryArray]] = {}
"""By column, the texts encoded last, and their dictionary: to compare takes a small part of the time to encode."""


def write(frame: pd.DataFrame, meta: ProfileMeta, path: str | Path) -> Path:
    """Write rows and meta, whole or not at all."""
    columns = {name: _column(frame[name], kind) for name, kind in COLUMNS.items()}
    text = json.dumps(meta.to_dict())
    table = pa.table(columns)
    # Names repeat and numbers hardly do: to encode them costs as much again, and makes the file larger. Readers are to
    # see names, not numbers of a dictionary, which Arrow's own schema would have them do. Nobody asks for
    # statistics.
    repeating = [name for name, kind in COLUMNS.items() if kind != "float64"]
    how = {"use_dictionary": repeating, "store_schema": False, "write_statistics": False}
    with replace_file(path) as passing, pq.ParquetWriter(passing, table.schema, **how) as writer:
        writer.add_key_value_metadata({KEY: f"{_digest(columns, text)}\n{text}"})
        writer.write_table(table)
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
            key = next((each for each in (KEY, EARLIER_KEY, KEY_WITHOUT_DIGEST) if each in known), None)
            if key is None:
                raise ValueError(
                    f"expected a profile written by LayerProfile.to_parquet in {path}, got another parquet file"
                )
            said = known[key].decode()
            digest, _, text = ("", "", said) if key == KEY_WITHOUT_DIGEST else said.partition("\n")
            content: dict[str, Any] = json.loads(text)
            most = len(content["tasks"]) * len(content["layers"]) * MOST_MEASURES
            frame: pd.DataFrame = _rows(file, most, path).to_pandas()
            columns = {name: _column(frame[name], kind) for name, kind in COLUMNS.items()}
            verified = key == KEY_WITHOUT_DIGEST or digest == _digest(columns, text, every_text=key == EARLIER_KEY)
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


def _rows(file: pq.ParquetFile, most: int, path: str | Path) -> pa.Table:
    """The rows, read in parts, so that a small file that would unpack to a huge table is refused on the way.

    What a damaged file says of its own columns is not asked for: some of it ends the process.

    Args:
        file: The file.
        most: Rows that one step may have: no two share a cell.
        path: For the message.
    """
    parts, steps, rows = [], set[int](), 0
    for part in file.iter_batches(ROWS_AT_A_TIME):
        steps.update(part.column("step").unique().to_pylist())
        rows += len(part)
        if rows > most * len(steps):
            raise ValueError(
                f"expected at most {most:,} rows per step in the profile {path}, for its tasks and layers, got "
                f"{rows:,} and more of {count(len(steps), 'step')}; the rest of it was not read"
            )
        parts.append(part)
    return pa.Table.from_batches(parts, file.schema_arrow)


def _column(cells: pd.Series, kind: str) -> pa.Array:
    """Numbers as they are; texts as a dictionary, in which each stands once in the order of the rows."""
    if kind == "text":
        # Where pandas keeps texts in Arrow's form they are taken as they lie there, which it does not do of a Series.
        held = cells.array if hasattr(cells.array, "__arrow_array__") else cells
        texts = pa.array(held, pa.large_string(), from_pandas=True)
        if isinstance(texts, pa.ChunkedArray):  # where rows were joined
            texts = texts.combine_chunks()
        return _encoded(str(cells.name), texts)
    numbers = cells.to_numpy(dtype=kind)
    if kind == "float64":  # a computed NaN may have other bits than one that is read back
        numbers = np.where(np.isnan(numbers), np.nan, numbers)
    return pa.array(numbers, from_pandas=False)


def _encoded(name: str, texts: pa.Array) -> pa.DictionaryArray:
    """A column's texts as a dictionary; what was made for equal ones before, as every measurement of a run has."""
    known = _LAST_TEXTS.get(name)
    if known is not None and known[0].equals(texts):
        return known[1]
    encoded = texts.dictionary_encode("encode")
    if len(texts) <= ROWS_AT_A_TIME:  # of a measurement; a whole run's would be held for nothing
        _LAST_TEXTS[name] = texts, encoded
    return encoded


def _digest(columns: Mapping[str, pa.Array], meta: str, *, every_text: bool = False) -> str:
    """Of the meta's text and of every cell, whatever the file's encoding; of numbers little-endian.

    Args:
        columns: As :func:`_column` gives them.
        meta: Its text.
        every_text: As it was in an earlier version: over the text of every cell instead of their dictionary.
    """
    digest = hashlib.sha256(meta.encode())
    for name, kind in COLUMNS.items():
        column = columns[name]
        if kind != "text":
            cells = column.to_numpy().astype(f"<{kind[0]}8", copy=False).tobytes()
        elif every_text:
            cells = json.dumps([math.nan if text is None else text for text in column.to_pylist()]).encode()
        else:
            indices = column.indices.to_numpy().astype("<i4", copy=False)
            cells = json.dumps(column.dictionary.to_pylist()).encode() + indices.tobytes()
        digest.update(f"{name} {len(cells)}\n".encode())
        digest.update(cells)
    return digest.hexdigest()
