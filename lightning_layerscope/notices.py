"""Warnings that point at the user's own line."""

from __future__ import annotations

import sys
import warnings
from types import FrameType

# Frames that are not the user's own: a warning names the first line beyond them.
_PACKAGES = frozenset(
    {"lightning_layerscope", "lightning", "pytorch_lightning", "lightning_fabric", "lightning_utilities"}
    | {"transformers", "trl", "accelerate", "torch", "contextlib", "functools"}
)


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, with the nearest line outside this package and the trainers that call it as the place.

    Args:
        message: The sentence; the package's short name is put before it.
        category: Category of the warning.
    """
    warn_at(users_frame(sys._getframe(1)), f"layerscope: {message}", category)


def warn_at(frame: FrameType, message: str, category: type[Warning]) -> None:
    """Warn with the line that a frame is at as the place."""
    module = frame.f_globals
    warnings.warn_explicit(
        message,
        category,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=str(module.get("__name__", "")),
        registry=module.setdefault("__warningregistry__", {}),
    )


def users_frame(frame: FrameType) -> FrameType:
    """The innermost frame that belongs to none of the packages between the user and this one."""
    here: FrameType | None = frame
    while here is not None:
        if str(here.f_globals.get("__name__", "")).partition(".")[0] not in _PACKAGES:
            return here
        here = here.f_back
    return frame
