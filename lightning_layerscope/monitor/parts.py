"""Parts of a run's results that are written once and must be there after every measurement."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lightning_layerscope.monitor.attempts import attempt
from lightning_layerscope.monitor.folder import move_aside


class KeptPart:
    """A file or folder that is written once, and again where it was deleted or changed meanwhile.

    What was written is known by the sizes and times of its files: to read all of it back at every measurement would
    take longer than some measurements.

    Args:
        write: Writes it to a path that is free.
        read: Reads it back and says whether it is what is to lie there; may raise where it is damaged.
    """

    def __init__(self, write: Callable[[Path], object], read: Callable[[Path], bool]) -> None:
        self._write, self._read = write, read
        self._seen: tuple[Path, list[tuple[str, int, int]]] | None = None

    def ensure(self, path: Path) -> None:
        """Make sure that it lies there whole; what lies there instead gets another name.

        Raises:
            OSError: When it cannot be written.
        """
        if path.exists():
            if self._seen == (path, _stamp(path)):
                return
            if not attempt(lambda: self._read(path)).value:
                move_aside(path)
        if not path.exists():
            self._write(path)
        self._seen = (path, _stamp(path))


def _stamp(path: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of change of every file."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path] if path.exists() else []
    stats = [(str(file.relative_to(path)), file.stat()) for file in files]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
