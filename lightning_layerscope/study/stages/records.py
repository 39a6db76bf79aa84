"""Typed results as JSON files: written from a dataclass, read back into it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from lightning_layerscope.json_files import read_json

RecordT = TypeVar("RecordT")


def write_record(record: Any, path: Path) -> None:
    """Write a dataclass; NaN stays NaN."""
    content = TypeAdapter(type(record)).dump_python(record, mode="json")
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


def read_record(kind: type[RecordT], path: Path) -> RecordT:
    """Read what :func:`write_record` wrote.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If it is not JSON, or not of that kind; the message names the file.
    """
    content = read_json(path)
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        raise ValueError(f"{path} does not hold what was expected: {error}") from error
