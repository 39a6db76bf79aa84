"""Numbers in sentences."""

from __future__ import annotations


def count(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun.

    Args:
        number: How many.
        noun: What, as it reads for one.
        plural: As it reads for several; by default with an s.

    Examples:
        >>> count(1, "task"), count(1200, "task"), count(0, "copy", "copies")
        ('1 task', '1,200 tasks', '0 copies')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
