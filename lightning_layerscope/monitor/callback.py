"""What every host of the monitor is: the options, and the one way in which a trainer's hooks reach the monitor."""

from __future__ import annotations

import atexit
import functools
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from lightning_layerscope.monitor.attempts import Refused
from lightning_layerscope.monitor.monitor import Monitor
from lightning_layerscope.monitor.passive import PassiveSource
from lightning_layerscope.monitor.settings import Settings
from lightning_layerscope.options import Actions, Comparison, Extraction, Output, Passive, Schedule, Signals
from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.references import ReferenceBank
from lightning_layerscope.sinks.loggers import several

Hook = TypeVar("Hook", bound=Callable[..., None])


def contained(hook: Hook) -> Hook:
    """A trainer's hook from which nothing escapes: the one way into the monitor.

    All that the hook does is inside, reading the trainer's state included. What fails is warned about once, counted,
    and the run goes on. Interruptions pass, and so does a mistake in the configuration, which is raised as it was.
    """

    @functools.wraps(hook)
    def run(self: MonitorCallback, *args: Any, **kwargs: Any) -> None:
        try:
            with self.monitor.failures.contained():
                hook(self, *args, **kwargs)
        except Refused as refused:
            raise refused.error from None

    return cast(Hook, run)


def crash_at_exit(monitor: Monitor) -> None:
    """Finish a run that nobody has ended when the process exits: an exception or an interruption did."""
    atexit.register(_crash, weakref.ref(monitor))


def _crash(monitor: weakref.ref[Monitor]) -> None:
    running = monitor()
    if running is not None:
        running.crash()


class MonitorCallback:
    """The options of the callbacks and of :func:`~lightning_layerscope.watch`, and what they hold.

    Args:
        probes: What to measure on: a ``ProbeSet``; or the path of a saved one; or a source of tasks (a folder of JSONL
            files, a folder written by ``save_to_disk``, ``"toy"``, ``"flan"``, a name on the hub), which needs a
            tokenizer; or ``"datamodule"``, whose ``probe_tasks()`` is asked. In passive mode: None.
        tokenizer: For a source of tasks: a tokenizer, its folder or its name on the hub; default is the ``tokenizer``
            of the module or the data module, or the trainer's ``processing_class``.
        probe_options: For a source of tasks: ``examples_per_task``, ``split``, ``seed``, ``max_length``,
            ``min_examples``, ``template``, ``token_choice``, ``columns``, ``clusters``.
        reference: ``"initial"`` is this run at its beginning; ``"base"`` the model with its adapters off; or a
            ``ReferenceBank``, or the folder of a stored one; or ``"wandb:entity/project/name:version"``, an artifact of
            W&B that is downloaded, and told to the run's W&B as used.
        retention: What must not be lost: ``"general"``, six skills of 32 short prompts that come with this package, or
            a ``ProbeSet``, a saved one's path, or a source of tasks. Its drift, loss and KL stand beside those of the
            probes; the first measurement at which its loss has risen is named, and is an alert. Active mode alone.
        every_n_steps: Measure at every multiple of this many optimiser steps; in passive mode at the first validation
            from there on.
        at_steps: Measure at these steps; in passive mode at the first validation from there on.
        layers: Which layers: numbers, or ``"all"``, ``"last"``, ``"1,4,8-12"``.
        measure: ``"cka"`` or another measure of :func:`~lightning_layerscope.compare`.
        mode: ``"active"`` runs the probes through the model; ``"passive"`` reads the hidden states of your own
            validation, one named dataloader per task, at no extra forward pass, also under FSDP and DeepSpeed.
        forward: For modules outside transformers: runs the layers, ``forward(module, input_ids, attention_mask)``.
        max_overhead: Share of the run's wall time, in (0, 1], that measurements between the first and the last may
            take; due ones that would take more are left out. None for no limit. What passive mode reads costs no
            forward pass and is never left out.
        output_dir: Folder of the results, on this machine; default is a folder of the monitor's name where the trainer
            or its logger keeps its files. A folder of another run is never written to: a number is added.
        report: Draw ``report.html`` after every measurement, in a process beside training.
        loggers: Further loggers beside the trainer's own, one or several: objects with ``log_metrics(row, step=...)``,
            or runs of W&B.
        verbose: Print the cost before and after, and what is logged where.
        schedule: More triggers: see :class:`~lightning_layerscope.options.Schedule`.
        extraction: How states are taken: see :class:`~lightning_layerscope.options.Extraction`.
        comparison: How they are compared: see :class:`~lightning_layerscope.options.Comparison`.
        signals: What to measure beside: see :class:`~lightning_layerscope.options.Signals`.
        actions: What to do with what is found, which alone changes a run: see
            :class:`~lightning_layerscope.options.Actions`.
        output: What becomes of the results: see :class:`~lightning_layerscope.options.Output`.
        passive: What passive mode reads: see :class:`~lightning_layerscope.options.Passive`.

    Raises:
        ValueError: For options out of range, or an option that the mode does not have.
        TypeError: For an option of another type.

    Attributes:
        settings: The options, checked.
        monitor: What measures: ``monitor.record``, ``monitor.failures.counts``, ``monitor.results.folder``.
    """

    def __init__(
        self,
        probes: ProbeSet | str | None = None,
        tokenizer: Any = None,
        probe_options: dict[str, Any] | None = None,
        reference: str | ReferenceBank = "initial",
        retention: ProbeSet | str | None = None,
        every_n_steps: int | None = None,
        at_steps: list[int] | None = None,
        layers: list[int] | str | None = None,
        measure: str = "cka",
        mode: Literal["active", "passive"] = "active",
        forward: Callable[..., Any] | None = None,
        max_overhead: float | None = 0.02,
        output_dir: str | None = None,
        report: bool = True,
        loggers: Sequence[Any] = (),
        verbose: bool = True,
        schedule: Schedule | None = None,
        extraction: Extraction | None = None,
        comparison: Comparison | None = None,
        signals: Signals | None = None,
        actions: Actions | None = None,
        output: Output | None = None,
        passive: Passive | None = None,
    ) -> None:
        super().__init__()
        self.settings = Settings(
            probes=probes,
            tokenizer=tokenizer,
            probe_options=dict(probe_options or {}),
            reference=reference,
            retention=retention,
            every_n_steps=every_n_steps,
            at_steps=at_steps,
            layers=layers,
            measure=measure,
            mode=mode,
            forward=forward,
            max_overhead=max_overhead,
            output_dir=output_dir,
            report=report,
            loggers=several(loggers),
            verbose=verbose,
            schedule=Schedule() if schedule is None else schedule,
            extraction=Extraction() if extraction is None else extraction,
            comparison=Comparison() if comparison is None else comparison,
            signals=Signals() if signals is None else signals,
            actions=Actions() if actions is None else actions,
            output=Output() if output is None else output,
            passive=Passive() if passive is None else passive,
        )
        self.monitor = Monitor(self.settings)
        self._passive = PassiveSource(self.settings) if mode == "passive" else None

    def _log_options(self, prompts: Path | Literal[False]) -> dict[str, Any]:
        """For :func:`~lightning_layerscope.sinks.sinks_for`: all that no host differs in."""
        from lightning_layerscope.sinks.keys import root_of

        output = self.settings.output
        return {
            "per_task_keys": output.task_keys,
            "upload_prompts": prompts,
            "upload_reference": output.upload_reference,
            "upload_report": output.upload_report,
            "root": root_of(output.name),
        }

    def _refuse_callback_metrics(self) -> None:
        if self.settings.actions.callback_metrics:
            raise ValueError(
                "callback_metrics are of Lightning's trainer; elsewhere say stop_when=, or read the record "
                "(monitor.record) in a callback of your own."
            )
