"""Content digests of a folder's files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from lightning_layerscope.sealed import file_digest


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
