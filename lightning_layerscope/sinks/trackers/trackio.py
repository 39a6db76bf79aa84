"""trackio: scalars, pictures, and the curves as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning_layerscope.sinks.tracker import Lines, Tracker, tidy

if TYPE_CHECKING:
    from lightning_layerscope.sinks.picture import Picture


class TrackioTracker(Tracker):
    """Logs to a run.

    Args:
        handle: A run: what ``trackio.init()`` has given.
    """

    name = "trackio"
    takes = "scalars, pictures and tables of curves"

    def log_row(self, row: Mapping[str, float], step: int) -> None:
        """Log scalars."""
        self.handle.log(dict(row), step=step)

    def log_pictures(self, pictures: Sequence[tuple[str, Picture]], step: int) -> None:
        """Log images with their captions."""
        import trackio

        images: dict[str, Any] = {
            key: trackio.Image(picture.image().convert("RGB"), caption=picture.caption) for key, picture in pictures
        }
        self.handle.log(images, step=step)

    def log_curves(self, key: str, lines: Lines, step: int) -> None:
        """Log one table."""
        import pandas as pd
        import trackio

        self.handle.log({key: trackio.Table(dataframe=pd.DataFrame(tidy(lines, step)))}, step=step)

    def alert(self, title: str, text: str) -> None:
        """Send an alert of the current run, to the dashboard and the webhook that the user has named."""
        import trackio

        trackio.alert(title=title, text=text)
