"""The monitor in a training loop of one's own, with or without Accelerate: no trainer calls it, the loop does."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch import nn

from lightning_layerscope.compat.accelerate import tracker_handles
from lightning_layerscope.compat.torch import undistributed
from lightning_layerscope.monitor.attempts import attempt, refusing
from lightning_layerscope.monitor.callback import MonitorCallback, contained, crash_at_exit
from lightning_layerscope.monitor.host_state import HostState
from lightning_layerscope.monitor.location import Location
from lightning_layerscope.monitor.probe_source import resolve_probes, resolve_retention
from lightning_layerscope.monitor.reporting import message


class LoopMonitor(MonitorCallback):
    """Measures a model that a loop of your own trains; :func:`watch` makes it and tells the options.

    Attributes:
        monitor: What measures: ``monitor.record``, ``monitor.failures.counts``, ``monitor.results.folder``.
    """

    def __init__(
        self,
        model: nn.Module,
        probes: Any,
        *,
        accelerator: Any = None,
        autocast: Callable[[], AbstractContextManager[Any]] | None = None,
        total_steps: int | None = None,
        loggers: Any = (),
        **options: Any,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"expected a torch.nn.Module to watch, got {type(model).__name__}.")
        if autocast is not None and (isinstance(autocast, AbstractContextManager) or not callable(autocast)):
            raise TypeError(
                "expected autocast to be a function that opens the context anew each time, such as "
                f'lambda: torch.autocast("cpu", torch.bfloat16), got {type(autocast).__name__}.'
            )
        super().__init__(probes, loggers=loggers, **options)
        if self.settings.mode == "passive" or self.settings.schedule.on_validation_end:
            raise ValueError(
                'a loop tells nobody of its validations: mode="passive" and schedule.on_validation_end are of the '
                "callbacks for trainers. Say when to measure by every_n_steps, at_steps or schedule.geometric."
            )
        self._refuse_callback_metrics()
        self._model, self._accelerator, self._total_steps = undistributed(model), accelerator, total_steps
        self._autocast: Callable[[], AbstractContextManager[Any]]
        self._autocast = getattr(accelerator, "autocast", contextlib.nullcontext) if autocast is None else autocast
        self._step = 0
        self._begun = self._running = self._told_back = self._told_closed = False

    def start(self) -> LoopMonitor:
        """Take the baseline, or find that of a resumed run. Call it before the first optimiser step; ``with`` does.

        Raises:
            RuntimeError: When it has been started already.
            ValueError, TypeError, OSError: For a mistake in the configuration.
        """
        if self._running:
            raise RuntimeError(
                "the monitor has been started already; close() ends one training, start() begins another"
            )
        if self._begun:
            self._step = 0  # another training of the same process
        self._begin()
        self._begun = self._running = True
        return self

    def step(self, step: int | None = None) -> None:
        """Say that an optimiser step was taken; measures where due. Call it on every process.

        Args:
            step: Optimiser steps since the beginning of training, over all epochs; default is one more than before.

        Raises:
            RuntimeError: When there is no baseline, because training has begun before the monitor.
            TypeError: When ``step`` is no whole number.
        """
        if not self._begun:
            raise RuntimeError(
                "step() was called before the monitor was started, so that there is no baseline to compare with: open "
                "it with `with monitor:`, or call monitor.start(), before the first optimiser step."
            )
        if not self._running and not self._told_closed:
            self._told_closed = True
            self.monitor.failures.warn(
                "step() was called after the end of this training: nothing is measured any more; start() begins another"
            )
        self._after_step(self._step + 1 if step is None else operator.index(step))

    @property
    def should_stop(self) -> bool:
        """Whether an alert of ``stop_when`` was given: end your loop then. The same on every process."""
        return bool(self.monitor.standing.stop)

    def close(self) -> None:
        """Take the last measurement and finish; ``with`` does."""
        self._end()
        self._running = False

    def state_dict(self) -> dict[str, Any]:
        """For your checkpoint, beside model and optimiser: primitives alone. What was measured is in files."""
        attempt(partial(self.monitor.checkpoint, self._step))
        return {**(attempt(self.monitor.state_dict).value or {}), "step": self._step}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on with a checkpoint's run at its step: call it before :meth:`start`; later it changes nothing.

        Raises:
            ValueError: When it is not what :meth:`state_dict` gave: a new baseline would be taken in the middle.
        """
        if not isinstance(state_dict, Mapping) or not ("run_id" in state_dict or set(state_dict) == {"step"}):
            got = f"entries {list(state_dict)[:5]}" if isinstance(state_dict, Mapping) else type(state_dict).__name__
            raise ValueError(
                f"expected what a monitor's state_dict() gave, got {got}; pass that part of the checkpoint, such as "
                'checkpoint["monitor"]'
            )
        if not self._running:
            self._begun, self._step = False, int(state_dict.get("step", 0))
        self._load(dict(state_dict))

    def __enter__(self) -> LoopMonitor:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
            return
        self._running = False
        self._crash()

    @contained
    def _begin(self) -> None:
        with refusing():
            probes = resolve_probes(self.settings)
            retention = resolve_retention(self.settings, probes)
        self.monitor.start(
            self._host_state(),
            probes=probes,
            location=self._location,
            sinks=self._make_sinks,
            retention=retention,
        )
        crash_at_exit(self.monitor)

    @contained
    def _after_step(self, step: int) -> None:
        if step < self._step and not self._told_back:
            self._told_back = True
            self.monitor.failures.warn(
                f"step {step} came after step {self._step}: steps count from the beginning of training, over all "
                "epochs. Nothing is measured until they are past where they have been; step() without a number counts "
                "by itself"
            )
        self._step = max(step, self._step)
        self.monitor.after_step(self._host_state())

    @contained
    def _end(self) -> None:
        self.monitor.end(self._host_state())

    @contained
    def _crash(self) -> None:
        self.monitor.crash()

    @contained
    def _load(self, state: dict[str, Any]) -> None:
        self.monitor.load_state_dict(state)

    def _host_state(self) -> HostState:
        return HostState(
            model=self._model,
            step=self._step,
            host_step=self._step,
            autocast=self._autocast,
            total_steps=self._total_steps,
        )

    def _location(self) -> Location:
        if self.settings.output_dir is not None:
            return Location(Path(self.settings.output_dir))
        parent = getattr(self._accelerator, "project_dir", None) or Path.cwd()
        return Location(Path(parent).absolute() / self.settings.output.name)

    def _make_sinks(self, prompts: Path | Literal[False]) -> list[Any]:
        places = [*self.settings.loggers, *tracker_handles(self._accelerator)]
        if not places:
            self.monitor.failures.say("logs to files only: a tracker is passed as loggers=.")
            return []
        from lightning_layerscope.sinks import sinks_for

        # A loop has no step of its own beside that which it tells the monitor.
        sinks = list(sinks_for(places, host_step_key=None, **self._log_options(prompts)))
        self.monitor.failures.say(message(sinks))
        return sinks


def watch(model: nn.Module, probes: Any, **options: Any) -> LoopMonitor:
    """Watch a model in a training loop of your own: the monitor of the callbacks, where no trainer calls it.

    Nothing is measured before ``with`` (or ``start()``) begins: it takes the baseline, ``step`` measures where due, and
    the end of the block takes the last measurement; an exception inside finishes from the one before. The promises are
    those of the callbacks: training stays bitwise the same, within a budget, and what fails is a warning.

    Args:
        model: Before the first optimiser step. Of a ``DistributedDataParallel`` the model inside is measured; call
            ``start`` and ``step`` on every process.
        probes: What to measure on; see :class:`~lightning_layerscope.monitor.callback.MonitorCallback`.
        options: All others of :class:`~lightning_layerscope.monitor.callback.MonitorCallback` but passive mode, and

            - ``loggers``: a run of W&B, a ``SummaryWriter`` of TensorBoard, an object with
              ``log_metrics(row, step=...)``; one, a list, or a mapping of names to such.
            - ``accelerator``: an ``accelerate.Accelerator``. Its trackers are logged to, its precision is that of the
              forward passes, and its ``project_dir`` holds the results.
            - ``autocast``: opens the context that your forward passes run in, for example
              ``lambda: torch.autocast("cuda", torch.bfloat16)``.
            - ``total_steps``: optimiser steps that the run is going to take; a warning then says early where the first
              and the last measurement alone exceed ``max_overhead``.

    Raises:
        TypeError: For what is no module, or an option that there is not.
        ValueError: For options out of range, or passive mode, which is of the callbacks for trainers.

    Example:
        >>> monitor = ls.watch(model, probes, every_n_steps=100)           # doctest: +SKIP
        >>> with monitor:                                                  # doctest: +SKIP
        ...     for step, batch in enumerate(loader, start=1):
        ...         train(batch)
        ...         monitor.step(step)
    """
    return LoopMonitor(model, probes, **options)
