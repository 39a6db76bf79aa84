"""Lines of text files as Windows, macOS and web scrapes leave them."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def numbered_lines(file: Path) -> Iterator[tuple[int, str]]:
    """Every line with its number from 1, in UTF-8 or in what the file's byte order mark says.

    Raises:
        ValueError: For bytes that are no such text; the message says which file and line.
    """
    encoding = _encoding(file)
    try:
        with file.open(encoding=encoding) as lines:
            yield from enumerate(lines, start=1)
    except UnicodeError as error:
        raise ValueError(_complaint(file, encoding)) from error


def _encoding(file: Path) -> str:
    with file.open("rb") as content:
        head = content.read(1024)
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            return encoding
    if b"\0" in head:
        raise ValueError(
            f"{file.name}, line 1: holds zero bytes, as binary files do, and UTF-16 without a byte order mark; "
            "expected text in UTF-8"
        )
    return "utf-8"


def _complaint(file: Path, encoding: str) -> str:
    data = file.read_bytes()
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].decode(encoding, errors="replace").count("\n") + 1
        where, fault = f"{file.name}, line {line}", f"the byte 0x{data[error.start]:02x} is not {encoding.upper()}"
    else:  # only a decoder of single chunks stumbled
        where, fault = file.name, f"not {encoding.upper()}"
    return (
        f"{where}: {fault}; expected text in UTF-8: files from Windows are often cp1252, convert them with "
        f"iconv -f cp1252 -t utf-8 {file.name}"
    )
