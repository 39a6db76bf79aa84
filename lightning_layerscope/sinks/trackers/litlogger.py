"""LitLogger, of Lightning's own platform: scalars and pictures."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_layerscope.sinks.tracker import Tracker

if TYPE_CHECKING:
    from lightning_layerscope.sinks.picture import Picture


class LitLoggerTracker(Tracker):
    """Logs through Lightning's ``LitLogger``.

    Args:
        handle: The logger.
    """

    name = "LitLogger"

    def log_row(self, row: Mapping[str, float], step: int) -> None:
        """Log metrics."""
        self.handle.log_metrics(dict(row), step=step)

    def log_pictures(self, pictures: Sequence[tuple[str, Picture]], step: int) -> None:
        """Append images to the series of their keys."""
        import litlogger

        with tempfile.TemporaryDirectory() as folder:
            for number, (key, picture) in enumerate(pictures):
                path = Path(folder) / f"{number}.png"
                path.write_bytes(picture.png)
                self.handle.experiment[key].append(litlogger.Image(str(path)), step=step)
