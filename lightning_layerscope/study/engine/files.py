"""Content digests of a folder's files, and JSON that may come from anywhere."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_BLOCK = 1 << 22


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it is not JSON, or is nested too deeply to be read; the message names the file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply to be read") from error
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content: 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def digest_files(folder: Path, *, without: frozenset[str] = frozenset()) -> dict[str, str]:
    """Path below the folder, with forward slashes, to digest; regular files alone.

    Args:
        folder: What to read.
        without: Names of folders to leave out, at any depth.
    """
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in _files(folder, without)}


def first_damage(folder: Path, digests: Mapping[str, str]) -> str:
    """Which of a folder's files is not what it was, in words; empty where all are."""
    for name, digest in digests.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if file_digest(path) != digest:
            return f"{name} is not what was written"
    return ""


def _files(folder: Path, without: frozenset[str]) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in without)
        for name in sorted(names):
            path = Path(root) / name
            if path.is_file() and not path.is_symlink():
                yield path
