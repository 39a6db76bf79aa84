"""Where results of a run go beside its files, and what is said about it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lightning_layerscope.compat.transformers_trainer import own_handle, tensorboard_writer
from lightning_layerscope.monitor.attempts import attempt


@dataclass(frozen=True)
class Reporting:
    """Where a ``transformers.Trainer`` reports to.

    Attributes:
        trainer: Whose reporting it is.
        names: Its ``report_to``.
    """

    trainer: Any
    names: tuple[str, ...]

    def loggers(self, given: Sequence[Any], *, per_task_keys: bool = False, root: str = "layerscope") -> dict[str, Any]:
        """The trainer's own trackers that results go to, by name, beside those that the user has given.

        The trainer's own callbacks come first and have opened them; what they did not open has no results.
        """
        found: dict[str, Any] = {}
        for name in self.names:
            if name == "tensorboard":
                from lightning_layerscope.sinks import TensorBoardSink

                found[name] = TensorBoardSink(
                    partial(tensorboard_writer, self.trainer), per_task_keys=per_task_keys, root=root
                )
            elif name == "wandb":
                found[name] = getattr(sys.modules.get("wandb"), "run", None)
            else:
                found[name] = attempt(partial(own_handle, self.trainer, name)).value
        return {
            name: handle
            for name, handle in found.items()
            if handle is not None and not any(one is handle for one in given)
        }

    def without(self, found: Iterable[str], given: Sequence[Any]) -> list[str]:
        """The names of which nothing was found; none where the user has given loggers for them."""
        return [] if given else [name for name in self.names if name not in found and name != "none"]


def reporting_of(trainer: Any, report_to: Any) -> Reporting:
    """The reporting of a trainer, from its ``report_to``."""
    names = (report_to,) if isinstance(report_to, str) else tuple(report_to or ())
    return Reporting(trainer, names)


def message(sinks: Sequence[Any], without: Sequence[str] = ()) -> str:
    """What is logged where, for the start of a run.

    Args:
        sinks: Of all trackers that were found.
        without: Names of trackers that were not.
    """
    arrives = "to files only"
    if sinks:
        from lightning_layerscope.sinks.loggers import arrivals

        arrives = arrivals(sinks)
    hint = (
        f"; nothing to {', '.join(without)}: pass its own run, or an object with log_metrics(row, step=...), as loggers"
    )
    return f"logs {arrives}{hint if without else ''}."
