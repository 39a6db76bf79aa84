"""Run what may fail, and tell a failure, which is contained, from a mistake in the configuration, which is not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from lightning_layerscope.extraction import ModelChangedError

T = TypeVar("T")


class Refused(Exception):  # noqa: N818 - it carries an error and is none
    """Carries a mistake in the configuration out of everything that contains failures.

    Args:
        error: What the user sees in the end.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What one rank has to show: a value, or the error it met, in words.

    Attributes:
        value: What the work gave.
        error: What went wrong; empty where nothing did.
        model_changed: Whether it left the model another one (:class:`~.extraction.ModelChangedError`).
    """

    value: T | None = None
    error: str = ""
    model_changed: bool = False


def attempt(work: Callable[[], T]) -> Outcome[T]:
    """Run something that may fail; an interruption (KeyboardInterrupt, SystemExit) and a refusal pass through."""
    try:
        return Outcome(work())
    except Refused:
        raise
    except Exception as error:  # StopIteration included: leaking from a hook it would end the epoch silently
        return Outcome(error=describe(error), model_changed=isinstance(error, ModelChangedError))


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """What the block finds wrong is a mistake in the configuration, and ends the run before its first step.

    An error that says nothing of the configuration (a bug, memory) is not turned into one.
    """
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError) as error:
        raise Refused(error) from error


def describe(error: BaseException) -> str:
    """An error in one line: its type and its message."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
