"""The report's table, task by task."""

from __future__ import annotations

from typing import Any

from lightning_layerscope.study.results.table import TaskRow

_COLUMNS = {
    "task": "task",
    "cluster": "cluster",
    "prompts": "prompts",
    "encoded": "encoded in base",
    "gained": "gained by tuning",
    "noise": "noise floor",
    "verdict": "reading",
    "adjusted_pvalue": "adjusted p",
    "loss_base": "loss base",
    "loss_tuned": "loss tuned",
    "loss_control": "loss control",
    "drift_mean_cka": "CKA tuned, base",
    "train_rows": "rows trained on",
}


def page_table(rows: list[TaskRow]) -> dict[str, Any]:
    """Headings and cells, each with its text and what it is sorted by; columns without any number are left out."""
    shown = {key: name for key, name in _COLUMNS.items() if any(getattr(row, key) not in (None, 0) for row in rows)}
    return {"columns": list(shown.values()), "rows": [[_cell(row, key) for key in shown] for row in rows]}


def _cell(row: TaskRow, key: str) -> dict[str, Any]:
    value = getattr(row, key)
    text = "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
    if key == "encoded" and value is not None:
        text = f"{value:.3f} {_half(row.encoded_low, row.encoded_high)}"
    if key == "gained" and value is not None:
        text = f"{value:+.3f} {_half(row.gained_low, row.gained_high)}"
    if key == "verdict":
        text = row.reading
    if key == "task" and row.seen is False:
        text += " (unseen)"
    number = isinstance(value, int | float)
    return {"text": text, "sort": value if number else text or -1e9, "number": number}


def _half(low: float | None, high: float | None) -> str:
    """The jackknife's intervals are symmetric; their half takes less room than both ends."""
    return "" if low is None or high is None else f"± {(high - low) / 2:.3f}"
