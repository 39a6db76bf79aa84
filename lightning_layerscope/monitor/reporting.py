"""What of a ``transformers.Trainer``'s reporting the monitor takes part in, and what is said about it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lightning_layerscope.compat.transformers_trainer import tensorboard_writer


@dataclass(frozen=True)
class Reporting:
    """Where a trainer reports to.

    Attributes:
        trainer: Whose reporting it is.
        names: Its ``report_to``.
    """

    trainer: Any
    names: tuple[str, ...]

    def loggers(self, given: Sequence[Any], *, per_task_keys: bool = False, root: str = "layerscope") -> list[Any]:
        """The trainer's own loggers that results go to, beside those that the user has given."""
        loggers: list[Any] = []
        if "wandb" in self.names:
            # The trainer's own callback comes first and has opened the run; else wandb may not even be loaded.
            run = getattr(sys.modules.get("wandb"), "run", None)
            if run is not None and not any(one is run for one in given):
                loggers.append(run)
        if "tensorboard" in self.names:
            from lightning_layerscope.sinks import TensorBoardSink

            loggers.append(
                TensorBoardSink(partial(tensorboard_writer, self.trainer), per_task_keys=per_task_keys, root=root)
            )
        return loggers

    def message(self, given: Sequence[Any]) -> str:
        """What is logged where, for the start of a run."""
        places = []
        if "wandb" in self.names:
            places.append("scalars and pictures to W&B")
        if "tensorboard" in self.names:
            places.append("scalars and pictures to TensorBoard")
        places += [f"scalars to {type(logger).__name__}" for logger in given]
        text = f"logs {', '.join(places) or 'to files only'}"
        others = [name for name in self.names if name not in ("wandb", "tensorboard", "none")]
        if others:
            text += (
                f"; nothing to {', '.join(others)}: pass loggers=[...], objects with log_metrics(row, step=...), for "
                "the scalars"
            )
        return f"{text}."


def reporting_of(trainer: Any, report_to: Any) -> Reporting:
    """The reporting of a trainer, from its ``report_to``."""
    names = (report_to,) if isinstance(report_to, str) else tuple(report_to or ())
    return Reporting(trainer, names)
