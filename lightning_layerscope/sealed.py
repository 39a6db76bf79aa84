"""JSON files that end with a digest of their own bytes, so that a damaged one is told from a whole one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_layerscope.atomic import replace_file

_SEAL = ',\n "sha256": "'


class DamagedFileError(ValueError):
    """A file of results is not as it was written."""


def write_sealed(path: str | Path, content: Mapping[str, Any]) -> str:
    """Write a JSON object, whole or not at all; its last key ``sha256`` is the digest of all bytes before that key.

    Args:
        path: The file to write or to replace.
        content: Plain values, at least one.

    Returns:
        The file's digest as its last key gives it.
    """
    text = json.dumps(content, indent=1).removesuffix("\n}")
    digest = _digest(text)
    with replace_file(path) as passing:
        passing.write_text(f'{text}{_SEAL}{digest}"\n}}\n', encoding="utf-8", newline="\n")
    return digest


def read_sealed(path: str | Path, advice: str) -> dict[str, Any]:
    """Read what :func:`write_sealed` wrote.

    Args:
        path: The file.
        advice: What to do about a damaged file, for the message.

    Returns:
        The content, without the digest.

    Raises:
        FileNotFoundError: If there is no such file.
        DamagedFileError: If any byte of it was changed.
    """
    try:
        text = Path(path).read_bytes().decode()
    except UnicodeDecodeError as error:
        raise DamagedFileError(f"{path} is damaged: it is not text ({error}); {advice}") from error
    body, _, _ = text.rpartition(_SEAL)
    if not body or text != f'{body}{_SEAL}{_digest(body)}"\n}}\n':
        raise DamagedFileError(f"{path} is damaged or was changed after it was written; {advice}")
    content: dict[str, Any] = json.loads(f"{body}\n}}")
    return content


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
