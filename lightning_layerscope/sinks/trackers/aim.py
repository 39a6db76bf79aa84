"""Aim: scalars and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lightning_layerscope.sinks.tracker import Tracker

if TYPE_CHECKING:
    from lightning_layerscope.sinks.picture import Picture


class AimTracker(Tracker):
    """Logs to a run.

    Args:
        handle: Aim's logger for Lightning, or a ``Run``.
    """

    name = "Aim"

    def log_row(self, row: Mapping[str, float], step: int) -> None:
        """Track scalars."""
        for key, value in row.items():
            self.own.track(value, name=key, step=step)

    def log_pictures(self, pictures: Sequence[tuple[str, Picture]], step: int) -> None:
        """Track images with their captions."""
        import aim

        for key, picture in pictures:
            image = aim.Image(picture.image().convert("RGB"), caption=picture.caption)
            self.own.track(image, name=key, step=step)
