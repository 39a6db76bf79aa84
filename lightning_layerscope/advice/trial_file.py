"""The table of a trial: one line per finished training, in a file that several machines add to."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

BASE = "base"
"""Selector of the line that holds the base model's own losses."""


@dataclass(frozen=True)
class TrialLine:
    """One finished training.

    Attributes:
        selector: Name of the rule.
        seed: Seed of adapters, rows and order.
        layers: Layers that were trained.
        ranks: Rank to the number of matrices that have it.
        parameters: Trainable parameters.
        loss: Task to held-out cross-entropy per answer token, in nats.
        retention: Skill of the retention set to the same.
    """

    selector: str
    seed: int
    layers: tuple[int, ...]
    ranks: Mapping[str, int]
    parameters: int
    loss: Mapping[str, float]
    retention: Mapping[str, float]

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> TrialLine:
        """Read what ``dataclasses.asdict`` gave to JSON.

        Raises:
            TypeError: For other fields than these.
            KeyError: Without layers.
        """
        return cls(**{**stored, "layers": tuple(stored["layers"])})

    @property
    def key(self) -> tuple[str, int]:
        """What makes a training one of a kind within its file."""
        return self.selector, self.seed


def read_lines(path: str | Path) -> dict[tuple[str, int], TrialLine]:
    """Finished trainings by selector and seed; none where the file is not there yet.

    A line that a crash cut off is left out with a warning: its training is made again.

    Raises:
        ValueError: For a line that is JSON and no finished training; the message names it.
    """
    path = Path(path)
    lines: dict[tuple[str, int], TrialLine] = {}
    texts = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            continue
        try:
            entry = json.loads(text)
        except (json.JSONDecodeError, RecursionError):
            warnings.warn(f"{path}, line {number} is cut off: its training is made again.", stacklevel=2)
            continue
        try:
            line = TrialLine.from_json(entry)
        except (TypeError, KeyError) as error:
            raise ValueError(f"{path}, line {number} is no finished training ({error}); delete it.") from error
        lines.setdefault(line.key, line)
    return lines


def append_line(path: str | Path, line: TrialLine) -> None:
    """Add a finished training as one write, so that several processes may add to one file.

    After a line that a crash cut off, the new one begins on a line of its own.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_rounded(asdict(line)), separators=(",", ":")) + "\n"
    with path.open("a+b", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            if file.read(1) != b"\n":
                text = "\n" + text
        file.write(text.encode("utf-8"))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return value
