"""Sinks for the loggers of a trainer, found by what they are called, so that both Lightning namespaces will do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from lightning_layerscope.compat.lightning import is_dummy_experiment, is_tensorboard_logger, is_wandb_logger
from lightning_layerscope.compat.wandb import is_run
from lightning_layerscope.sinks.base import Sink
from lightning_layerscope.sinks.keys import ROOT
from lightning_layerscope.sinks.scalars import ScalarSink
from lightning_layerscope.sinks.tensorboard import TensorBoardSink
from lightning_layerscope.sinks.tracker import TrackerSink
from lightning_layerscope.sinks.trackers import tracker_of
from lightning_layerscope.sinks.wandb import WandbSink


def sinks_for(
    loggers: Any,
    *,
    host_step_key: str | None = "trainer/global_step",
    per_task_keys: bool = False,
    upload_prompts: str | Path | Literal[False] = False,
    reference_folder: str | Path | None = None,
    upload_reference: bool = False,
    upload_report: bool = False,
    root: str = ROOT,
) -> list[Sink]:
    """One sink per logger.

    Args:
        loggers: one logger, several, or none (``None``, ``False``, ``[]``). Beside Lightning's loggers a run of W&B, a
            ``SummaryWriter`` of TensorBoard, the own object of another tracker, or a sink that is ready may stand in
            the list.
        host_step_key: see :class:`~lightning_layerscope.sinks.WandbSink`.
        per_task_keys: of all sinks.
        upload_prompts: see :class:`~lightning_layerscope.sinks.WandbSink`.
        reference_folder: see :class:`~lightning_layerscope.sinks.WandbSink`.
        upload_reference: see :class:`~lightning_layerscope.sinks.WandbSink`.
        upload_report: see :class:`~lightning_layerscope.sinks.WandbSink`.
        root: of all keys.

    Raises:
        TypeError: for something that is no logger.
    """
    sinks: list[Sink] = []
    for logger in several(loggers):
        # Lightning's loggers of these two trackers give the tracker's own object, which takes pictures, too.
        wraps = is_wandb_logger(logger) or is_tensorboard_logger(logger)
        tracker = logger.experiment if wraps else logger
        if is_dummy_experiment(tracker):
            continue
        own = tracker_of(logger)
        if own is not None:
            sinks.append(TrackerSink(own, per_task_keys=per_task_keys, root=root))
        elif is_run(tracker) or is_wandb_logger(logger):
            sinks.append(
                WandbSink(
                    tracker,
                    host_step_key=host_step_key,
                    per_task_keys=per_task_keys,
                    upload_prompts=upload_prompts,
                    reference_folder=reference_folder,
                    upload_reference=upload_reference,
                    upload_report=upload_report,
                    root=root,
                )
            )
        elif isinstance(logger, Sink):
            sinks.append(logger)
        elif _is_summary_writer(tracker):
            sinks.append(TensorBoardSink(partial(_itself, tracker), per_task_keys=per_task_keys, root=root))
        else:
            sinks.append(ScalarSink(logger, per_task_keys=per_task_keys, root=root))
    return sinks


def arrivals(sinks: Iterable[Any]) -> str:
    """What is logged where, in words; empty without sinks."""
    return "; ".join(str(getattr(sink, "arrives", f"results to {type(sink).__name__}")) for sink in sinks)


def several(loggers: Any) -> tuple[Any, ...]:
    """One logger, several, several by name, or none (``None``, ``False``), as a tuple."""
    if loggers is None or isinstance(loggers, bool):
        return ()
    if isinstance(loggers, Mapping):
        return tuple(loggers.values())
    return tuple(loggers) if isinstance(loggers, list | tuple) else (loggers,)


def _is_summary_writer(thing: Any) -> bool:
    return all(callable(getattr(thing, name, None)) for name in ("add_scalar", "add_image", "flush"))


def _itself(tracker: Any) -> Any:
    return tracker
