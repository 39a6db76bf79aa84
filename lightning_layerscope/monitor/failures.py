"""What becomes of a failure: one warning with the way out, a count, and the run goes on."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections import Counter
from collections.abc import Iterator

from lightning_layerscope.monitor.ranks import RanksLostError, describe

_LOG = logging.getLogger(__name__)


class Failures:
    """Counts failures by what failed, and warns of the first of each kind.

    Args:
        name: Of the monitor, in front of every message.
        verbose: Print what :meth:`say` is given.
    """

    def __init__(self, name: str, *, verbose: bool = True) -> None:
        self.name, self.verbose = name, verbose
        self.counts: Counter[str] = Counter()

    def add(self, what: str, message: str) -> None:
        """Count a failure; the first of its kind is warned about."""
        self.counts[what] += 1
        if self.counts[what] == 1:
            self.warn(f"{what} failed {message}" if message.startswith("at step") else f"{what} failed: {message}")

    def warn(self, message: str) -> None:
        """Warn, and never raise: training goes on where the user has turned warnings into errors, too."""
        try:
            warnings.warn(f"{self.name}: {message}", RuntimeWarning, stacklevel=3)
        except Warning:
            _LOG.warning("%s: %s", self.name, message)

    def say(self, message: str) -> None:
        """Tell what is not a failure."""
        if self.verbose:
            print(f"{self.name}: {message}", flush=True)

    @contextlib.contextmanager
    def contained(self) -> Iterator[None]:
        """Keep exceptions of the block inside; interruptions (KeyboardInterrupt, SystemExit) pass through."""
        try:
            yield
        except RanksLostError as error:
            self.add("measurement", f"{error}. Nothing more is measured; training goes on.")
        except Exception as error:
            self.add("monitor", f"{describe(error)}. Training goes on.")

    def summary(self) -> str:
        """The counts in words; empty where nothing failed."""
        return ", ".join(f"{count} x {what}" for what, count in self.counts.items())
