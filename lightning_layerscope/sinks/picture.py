"""One finished picture, as trackers take it: a PNG file with its key and caption."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Picture:
    """One picture of a measurement.

    Attributes:
        key: Under which trackers show it; several pictures of one measurement may share it.
        caption: Says of which step it is.
        png: A PNG file.
    """

    key: str
    caption: str
    png: bytes

    def image(self) -> Image:
        """The picture as an image of Pillow."""
        from PIL import Image as Images

        return Images.open(io.BytesIO(self.png))


def numbered(pictures: Sequence[Picture]) -> list[tuple[str, Picture]]:
    """The pictures under keys of their own: ``key``, or ``key/1``, ``key/2``, ... where several share one."""
    times = Counter(picture.key for picture in pictures)
    seen: Counter[str] = Counter()
    keyed = []
    for picture in pictures:
        seen[picture.key] += 1
        keyed.append((f"{picture.key}/{seen[picture.key]}" if times[picture.key] > 1 else picture.key, picture))
    return keyed
