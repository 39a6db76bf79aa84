"""What we know of ``SummaryWriter`` beyond its documented calls: how rows and PNG files get into its event files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from lightning_layerscope.sinks.picture import Picture


def add_row(writer: Any, row: Mapping[str, float], step: int) -> None:
    """Add numbers under one step, as one event: the documented ``add_scalar`` makes one of each.

    It serves writers of other makers.

    Args:
        writer: A ``SummaryWriter``.
        row: Key -> number.
        step: Under which they are shown.
    """
    files = _files_of(writer)
    if files is None:
        for key, value in row.items():
            writer.add_scalar(key, value, step)
        return
    from tensorboard.compat.proto.summary_pb2 import Summary

    files.add_summary(Summary(value=[Summary.Value(tag=key, simple_value=value) for key, value in row.items()]), step)


def add_png(writer: Any, key: str, picture: Picture, step: int) -> None:
    """Add a PNG file as it is.

    The documented ``add_image`` takes pixels and makes a PNG file of them, in the process that trains: 50 times as
    long. It serves writers of other makers, which have no ``file_writer`` as torch's.

    Args:
        writer: A ``SummaryWriter``.
        key: Of the picture.
        picture: To be added.
        step: Under which it is shown.
    """
    files = _files_of(writer)
    if files is None:
        writer.add_image(key, np.asarray(picture.image().convert("RGB")), step, dataformats="HWC")
        return
    from tensorboard.compat.proto.summary_pb2 import Summary

    width, height = picture.image().size
    content = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=picture.png)
    files.add_summary(Summary(value=[Summary.Value(tag=key, image=content)]), step)


def _files_of(writer: Any) -> Any:
    """What writes the event files of torch's ``SummaryWriter``; None for a writer of another maker."""
    reopened = getattr(writer, "_get_file_writer", None)  # a closed one goes on in another file, as it does by itself
    if not callable(reopened) or not type(writer).__module__.startswith("torch."):
        return None
    files: Any = reopened()
    return files if callable(getattr(files, "add_summary", None)) else None
