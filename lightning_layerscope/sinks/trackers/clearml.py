"""ClearML: scalars, pictures and curves over the layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning_layerscope.sinks.tracker import Lines, Tracker

if TYPE_CHECKING:
    from lightning_layerscope.sinks.picture import Picture


class ClearMLTracker(Tracker):
    """Logs to a task. A key is split at its last stroke: ClearML has titles, and series in each.

    Args:
        handle: ``Task.current_task()``.
    """

    name = "ClearML"
    takes = "scalars, pictures and curves"

    @property
    def _logger(self) -> Any:
        return self.handle.get_logger()

    def log_row(self, row: Mapping[str, float], step: int) -> None:
        """Report scalars."""
        for key, value in row.items():
            title, _, series = key.rpartition("/")
            self._logger.report_scalar(title, series, value, step)

    def log_pictures(self, pictures: Sequence[tuple[str, Picture]], step: int) -> None:
        """Report images."""
        for key, picture in pictures:
            title, _, series = key.rpartition("/")
            self._logger.report_image(title, series, iteration=step, image=picture.image().convert("RGB"))

    def log_curves(self, key: str, lines: Lines, step: int) -> None:
        """Report one line of a plot for every line."""
        for name, (layers, values) in lines.items():
            points = list(zip(layers, values, strict=True))
            self._logger.report_scatter2d(
                key, name, scatter=points, iteration=step, xaxis="layer", yaxis="value", mode="lines"
            )
