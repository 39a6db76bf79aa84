"""DVCLive: metrics, and the newest pictures and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lightning_layerscope.sinks.tracker import Lines, Tracker

if TYPE_CHECKING:
    from lightning_layerscope.sinks.picture import Picture


class DVCLiveTracker(Tracker):
    """Logs to a ``Live``, whose step stays the host's.

    Args:
        handle: DVCLive's logger for Lightning, or a ``Live``.
    """

    name = "DVCLive"
    takes = "scalars, the newest pictures and curves"

    def log_row(self, row: Mapping[str, float], step: int) -> None:
        """Log metrics: by the logger at its step, else at that which the ``Live`` counts."""
        if hasattr(self.handle, "log_metrics"):
            self.handle.log_metrics(dict(row), step=step)
            return
        for key, value in row.items():
            self.own.log_metric(key, value)

    def log_pictures(self, pictures: Sequence[tuple[str, Picture]], step: int) -> None:
        """Log images, each in the place of the one before."""
        for key, picture in pictures:
            self.own.log_image(f"{key}.png", picture.image().convert("RGB"))

    def log_curves(self, key: str, lines: Lines, step: int) -> None:
        """Log one plot for every line, in the place of the one before."""
        for name, (layers, values) in lines.items():
            points = [{"layer": layer, "value": value} for layer, value in zip(layers, values, strict=True)]
            if points:
                self.own.log_plot(f"{key}/{name}", points, x="layer", y="value")
