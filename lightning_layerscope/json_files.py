"""JSON: what somebody hands us, with one kind of error that names the place, and numbers that it has no word for."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any


def read_json(path: str | Path) -> Any:
    """Read a JSON file in UTF-8, with or without a byte order mark.

    Raises:
        OSError: When it cannot be read.
        ValueError: When it is not UTF-8, no valid JSON, or nested too deeply; the message names the file.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from error
    return parse_json(text, str(path))


def parse_json(text: str, where: str) -> Any:
    """Parse JSON; ``where`` names its place in messages.

    Raises:
        ValueError: When it is no valid JSON, or nested too deeply.

    Example:
        >>> parse_json("[1, 2", "line 3")
        Traceback (most recent call last):
        ValueError: line 3: not valid JSON (Expecting ',' delimiter: line 1 column 6 (char 5))
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError(f"{where}: JSON that is nested too deeply") from error
    except ValueError as error:  # also a number of thousands of digits, which is no JSONDecodeError
        raise ValueError(f"{where}: not valid JSON ({error})") from error


def finite_or_none(value: float | None) -> float | None:
    """A number as JSON has it: None where it is not finite, or missing.

    Example:
        >>> finite_or_none(0.5), finite_or_none(float("nan"))
        (0.5, None)
    """
    return None if value is None or not math.isfinite(value) else float(value)
