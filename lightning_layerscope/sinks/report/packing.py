"""All numbers of a page in a few bytes: rounded, as differences between measurements, deflated.

A column is an array whose first axis is the measurements. Its values are rounded to whole multiples of a unit; a
measurement is kept as its difference from the one before, which is mostly small and fits one byte. What is undefined
is listed by position. ``numbers.js`` reads it back.
"""

from __future__ import annotations

import base64
import math
import zlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FINEST = 1e-5
"""A unit is no smaller part of the column's largest value: differences then fit 32 bits."""


class Packer:
    """Collects columns; gives one text of all their bytes.

    Attributes:
        columns: Per column its ``unit``, its ``shape`` and where its bytes begin and end.
    """

    def __init__(self) -> None:
        self.columns: list[dict[str, Any]] = []
        self._bytes = bytearray()

    def add(self, values: ArrayLike, unit: float) -> int:
        """Add a column.

        Args:
            values: ``(measurements, ...)``, NaN where undefined.
            unit: Values are rounded to whole multiples of it, or of the least power of ten that is ``FINEST`` of the
                largest value, where that is coarser.

        Returns:
            The column's number.
        """
        array = np.asarray(values, dtype=np.float64)
        undefined = ~np.isfinite(array)
        largest = float(np.abs(array[~undefined]).max(initial=0.0))
        if largest * FINEST > unit:
            unit = 10.0 ** math.ceil(math.log10(largest * FINEST))
        whole = np.rint(np.where(undefined, 0, array) / unit).astype(np.int64)
        changes = np.diff(whole, axis=0, prepend=np.zeros_like(whole[:1]))
        places = np.flatnonzero(undefined)
        gaps = np.diff(places, prepend=0)
        begin = len(self._bytes)
        self._bytes += variable_bytes(np.concatenate([[len(places)], gaps, zigzag(changes.ravel())]))
        self.columns.append({"unit": unit, "shape": list(array.shape), "begin": begin, "end": len(self._bytes)})
        return len(self.columns) - 1

    def text(self) -> str:
        """All bytes, deflated (zlib), in base64."""
        return base64.b64encode(zlib.compress(bytes(self._bytes), 9)).decode("ascii")


def fine_unit(values: ArrayLike, digits: int = 4) -> float:
    """The power of ten that gives the largest value this many digits; 1 where nothing is defined.

    Examples:
        >>> fine_unit([0.5, 62.0]), fine_unit([float("nan")])
        (0.01, 1.0)
    """
    array = np.abs(np.asarray(values, dtype=np.float64))
    largest = float(array[np.isfinite(array)].max(initial=0.0))
    return 1.0 if largest == 0 else 10.0 ** (math.floor(math.log10(largest)) + 1 - digits)


def zigzag(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Whole numbers as ones that are not negative, small where the number is near 0.

    Examples:
        >>> zigzag(np.array([0, -1, 1, -2])).tolist()
        [0, 1, 2, 3]
    """
    return np.where(values < 0, -2 * values - 1, 2 * values)


def variable_bytes(values: NDArray[np.int64]) -> bytes:
    """Seven bits of a number in each byte, the lowest first; the eighth says that another byte follows.

    Args:
        values: Not negative, below 2 ** 35.

    Examples:
        >>> list(variable_bytes(np.array([5, 300])))
        [5, 172, 2]
    """
    length = np.ones(len(values), dtype=np.int64)
    for bits in (7, 14, 21, 28):
        length += values >> bits > 0
    start = np.cumsum(length) - length
    found = np.zeros(int(length.sum()), dtype=np.uint8)
    for place in range(int(length.max(initial=0))):
        there = length > place
        more = np.where(length[there] > place + 1, 128, 0)
        found[start[there] + place] = (values[there] >> 7 * place & 127) | more
    return found.tobytes()
