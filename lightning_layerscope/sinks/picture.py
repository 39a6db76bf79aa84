"""One finished picture, as trackers take it: a PNG file with its key and caption."""

from __future__ import annotations

import io
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
