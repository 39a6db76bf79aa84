"""SwanLab: scalars and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lightning_layerscope.sinks.tracker import Tracker

if TYPE_CHECKING:
    from lightning_layerscope.sinks.picture import Picture


class SwanLabTracker(Tracker):
    """Logs to a run.

    Args:
        handle: SwanLab's logger for Lightning, or a run: ``swanlab.get_run()``.
    """

    name = "SwanLab"

    def log_row(self, row: Mapping[str, float], step: int) -> None:
        """Log scalars."""
        self.own.log(dict(row), step=step)

    def log_pictures(self, pictures: Sequence[tuple[str, Picture]], step: int) -> None:
        """Log images with their captions."""
        import swanlab

        images = {
            key: swanlab.Image(picture.image().convert("RGB"), caption=picture.caption) for key, picture in pictures
        }
        self.own.log(images, step=step)
