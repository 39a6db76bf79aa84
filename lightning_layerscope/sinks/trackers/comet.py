"""Comet: metrics, pictures and curves over the layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lightning_layerscope.sinks.tracker import Lines, Tracker

if TYPE_CHECKING:
    from lightning_layerscope.sinks.picture import Picture


class CometTracker(Tracker):
    """Logs to a running experiment.

    Args:
        handle: Lightning's ``CometLogger``, or an experiment: ``comet_ml.get_running_experiment()``.
    """

    name = "Comet"
    takes = "scalars, pictures and curves"

    def log_row(self, row: Mapping[str, float], step: int) -> None:
        """Log metrics."""
        self.own.log_metrics(dict(row), step=step)

    def log_pictures(self, pictures: Sequence[tuple[str, Picture]], step: int) -> None:
        """Log images by name and step."""
        for key, picture in pictures:
            self.own.log_image(picture.image().convert("RGB"), name=key, step=step)

    def log_curves(self, key: str, lines: Lines, step: int) -> None:
        """Log one curve for every line."""
        for name, (layers, values) in lines.items():
            self.own.log_curve(f"{key}/{name}", x=layers, y=values, step=step)
