"""What a profile's rows and its meta must hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

COLUMNS: dict[str, str] = {
    "step": "int64",
    "layer": "int64",
    "task": "text",
    "cluster": "text",
    "measure": "text",
    "estimator": "text",
    "value": "float64",
    "low": "float64",
    "high": "float64",
    "reason": "text",
}
"""Column -> type of a profile's rows, in order."""

CELL = ["step", "layer", "task", "measure", "estimator"]
"""These columns name a cell: no two rows share them."""

_DEFAULTS: dict[str, Any] = {
    "examples_digest": "",
    "tokens_digest": "",
    "reference": "",
    "reference_digest": "",
    "model_name": "",
    "confidence": 0.9,
}

LISTS = ("warnings", "notes")
"""Entries of the meta that hold sentences."""


def check_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with exactly the known columns, in order, with their types and a plain index.

    Raises:
        ValueError: for missing or unknown columns, infinite values, values that are neither defined nor explained, or
            repeated cells.
    """
    missing, unknown = sorted(set(COLUMNS) - set(frame.columns)), sorted(set(frame.columns) - set(COLUMNS))
    if missing or unknown:
        raise ValueError(f"expected the columns {list(COLUMNS)}, got {missing} missing and {unknown} unknown")
    types = {name: str if kind == "text" else kind for name, kind in COLUMNS.items()}
    frame = frame[list(COLUMNS)].astype(types).reset_index(drop=True)
    repeated = frame.duplicated(CELL)
    if repeated.any():
        row = frame.loc[repeated, CELL].iloc[0].to_dict()
        raise ValueError(
            f"expected each cell once, got {int(repeated.sum())} repeated, the first {row}; drop one of them"
        )
    if np.isinf(frame["value"].to_numpy()).any():
        row = frame.loc[np.isinf(frame["value"]), CELL].iloc[0].to_dict()
        raise ValueError(f"expected finite values or NaN with a reason, got an infinite one at {row}")
    unexplained = frame["value"].isna() & (frame["reason"] == "")
    if unexplained.any():
        row = frame.loc[unexplained, CELL].iloc[0].to_dict()
        raise ValueError(f"expected a reason for every undefined value, got none at {row}; fill the column `reason`")
    return frame


def complete_meta(frame: pd.DataFrame, meta: Mapping[str, Any]) -> dict[str, Any]:
    """The meta with everything that the rows can tell filled in, checked against the rows.

    Raises:
        ValueError: if the rows hold layers or tasks that the meta does not list.
    """
    full: dict[str, Any] = {**_DEFAULTS, **dict(meta)}
    known = frame.drop_duplicates("task")
    full["clusters"] = dict(full.get("clusters") or zip(known["task"], known["cluster"], strict=True))
    full["tasks"] = [str(task) for task in full.get("tasks") or known["task"]]
    full["layers"] = [int(layer) for layer in full.get("layers") or np.sort(frame["layer"].unique())]
    full["num_layers"] = int(full.get("num_layers") or max(full["layers"], default=0))
    for key in ("measure", "estimator"):
        full[key] = str(full.get(key) or (frame[key].iloc[0] if len(frame) else ""))
    for key in LISTS:
        full[key] = [str(line) for line in full.get(key) or ()]
    for column, allowed in (("task", full["tasks"]), ("layer", full["layers"])):
        foreign = sorted(set(frame[column].unique().tolist()) - set(allowed))
        if foreign:
            raise ValueError(
                f"expected rows of the {column}s in meta, got {foreign[:5]}; list them in meta['{column}s']"
            )
    lost = [task for task in full["tasks"] if task not in full["clusters"]]
    if lost:
        raise ValueError(f"expected a cluster for every task in meta['clusters'], got none for {lost[:5]}")
    return full
