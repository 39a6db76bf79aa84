"""Calls to W&B whose errors are told in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def saved(call: Callable[[], T]) -> T:
    """What the call gives.

    Raises:
        ConnectionError: For whatever goes wrong in it.
    """
    try:
        return call()
    except Exception as error:  # of W&B, of the network, of the account
        raise ConnectionError(
            f"W&B did not take it ({type(error).__name__}: {error}). Are you logged in (`wandb login`), and may you "
            "write to that entity? --dry-run prints what would be saved."
        ) from error
