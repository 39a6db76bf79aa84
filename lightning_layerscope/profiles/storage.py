"""A profile as one parquet file, its meta in the schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lightning_layerscope.atomic import replace_file

KEY = b"lightning_layerscope.profile"


def write(frame: pd.DataFrame, meta: Mapping[str, Any], path: str | Path) -> Path:
    """Write rows and meta, whole or not at all."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), KEY: json.dumps(meta).encode()})
    with replace_file(path) as passing:
        pq.write_table(table, passing)
    return Path(path)


def read(path: str | Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read rows and meta.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no parquet file, or holds no profile.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"expected a profile at {path}, got no such file")
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"expected a profile (parquet) in {path}, got a damaged or other file: {error}") from error
    stored = (table.schema.metadata or {}).get(KEY)
    if stored is None:
        raise ValueError(f"expected a profile written by LayerProfile.to_parquet in {path}, got another parquet file")
    return table.to_pandas(), json.loads(stored)
