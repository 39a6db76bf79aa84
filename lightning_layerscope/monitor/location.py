"""Where a run's results go, and where its prompts do: never in silence into a folder that somebody else publishes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Location:
    """Where the results of a run go, and its prompts.

    Attributes:
        folder: The folder of the results; None keeps them in memory. Another run may have it already: see
            ``folder.reserve``.
        prompts: Folder of the prompts' texts where that is another one; None keeps them with the results.
        note: What the user is told about it.
    """

    folder: Path | None
    prompts: Path | None = None
    note: str = ""


def location_in(folder: Path, published: Path, name: str) -> Location:
    """Results in a folder, and the prompts outside of the folder around it that may be published as a whole.

    A trainer's hub upload or a tracker takes all that lies in its folder; it has no say over what lies beside it.

    Args:
        folder: The folder of the results.
        published: What may be published.
        name: Name of the monitor.
    """
    folder, published = folder.absolute(), published.absolute()
    if not folder.resolve().is_relative_to(published.resolve()):
        return Location(folder)
    # Of the resolved path: beside a link would not be outside of what the link leads to.
    outside = published.resolve()
    return Location(folder, prompts=outside.with_name(f"{outside.name}-{name}-prompts"))
