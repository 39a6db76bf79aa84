"""CSV: scalars in the logger's own file, pictures and curves in files beside it."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_layerscope.sinks.tracker import Lines, Tracker, tidy

if TYPE_CHECKING:
    from lightning_layerscope.sinks.picture import Picture


class CSVTracker(Tracker):
    """Logs through Lightning's ``CSVLogger``, and writes into its folder.

    Args:
        handle: The logger.
    """

    name = "CSVLogger"
    takes = "scalars, and pictures and curves as files beside them,"
    own_steps = True

    @property
    def _folder(self) -> Path:
        folder = Path(self.handle.log_dir)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def log_row(self, row: Mapping[str, float], step: int) -> None:
        """Log one row."""
        self.handle.log_metrics(dict(row), step=step)

    def log_pictures(self, pictures: Sequence[tuple[str, Picture]], step: int) -> None:
        """Write one PNG file for every key and step."""
        for key, picture in pictures:
            root, _, name = key.partition("/")
            path = self._folder / f"{root}-pictures" / name / f"step-{step:010d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture.png)

    def log_curves(self, key: str, lines: Lines, step: int) -> None:
        """Add rows to one file of curves."""
        table = tidy(lines, step)
        path = self._folder / f"{key.replace('/', '-')}.csv"
        begins = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if begins:
                writer.writerow(table)
            writer.writerows(zip(*table.values(), strict=True))

    def close(self) -> None:
        """Write out what the logger still holds: after an exception nobody else may."""
        self.handle.save()
