"""What a profile's rows must hold."""

from __future__ import annotations

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


def check_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with exactly the known columns, in order, with their types and a plain index.

    Raises:
        ValueError: For missing or unknown columns, infinite values, values that are neither defined nor explained, or
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
