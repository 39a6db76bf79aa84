"""What the drawing process hands over: files in a private folder of the run's folder, each whole or not there."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from lightning_layerscope.sealed import read_sealed, write_sealed
from lightning_layerscope.sinks.picture import Picture

PASSING = ".drawing-"
"""How the folder's name begins; what follows is of one process alone. It goes when the run ends."""

_ADVICE = "the pictures of this measurement are lost; the report shows them"


@dataclass(frozen=True)
class Drawn:
    """The pictures of one measurement.

    Attributes:
        pictures: In the order in which they are logged.
        error: Why there are none; empty where there are.
    """

    pictures: tuple[Picture, ...] = ()
    error: str = ""


def pictures_file(passing: Path, step: int) -> Path:
    """Where the pictures of a measurement are handed over."""
    return passing / f"step-{step:010d}.json"


def write_pictures(passing: Path, step: int, drawn: Drawn) -> None:
    """Hand over the pictures of one measurement."""
    pictures = [[each.key, each.caption, base64.b64encode(each.png).decode()] for each in drawn.pictures]
    write_sealed(pictures_file(passing, step), {"pictures": pictures, "error": drawn.error})


def read_pictures(passing: Path, step: int) -> Drawn | None:
    """The pictures of one measurement; None where they are not drawn yet.

    Raises:
        DamagedFileError: If the file is not as it was written.
    """
    try:
        content = read_sealed(pictures_file(passing, step), _ADVICE)
    except FileNotFoundError:
        return None
    pictures = (Picture(key, caption, base64.b64decode(png)) for key, caption, png in content["pictures"])
    return Drawn(tuple(pictures), content["error"])


def write_page(passing: Path, request: int, error: str) -> None:
    """Say which request the report answers, and why there is none where it could not be made."""
    write_sealed(passing / "page.json", {"request": request, "error": error})


def read_page(passing: Path) -> tuple[int, str]:
    """The last request that was answered (0: none so far), and what went wrong."""
    try:
        content = read_sealed(passing / "page.json", "the next measurement draws the report again")
    except FileNotFoundError:
        return 0, ""
    return int(content["request"]), str(content["error"])
