"""TransformersLayerSimilarityMonitor: the same monitor for ``transformers.Trainer`` and TRL."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from lightning_layerscope.compat.transformers_trainer import BeforeTheEnd, EvaluationSteps, calling_trainer
from lightning_layerscope.monitor.attempts import attempt, refusing
from lightning_layerscope.monitor.callback import MonitorCallback, contained, crash_at_exit
from lightning_layerscope.monitor.host_state import HostState
from lightning_layerscope.monitor.location import Location, location_in
from lightning_layerscope.monitor.probe_source import resolve_probes, resolve_retention
from lightning_layerscope.monitor.reporting import Reporting, message, reporting_of

if TYPE_CHECKING:

    class TrainerCallback:
        """Stands for transformers' own, which has no types here."""
else:
    from transformers import TrainerCallback


class TransformersLayerSimilarityMonitor(MonitorCallback, TrainerCallback):
    """Measures, while a model is fine-tuned with ``transformers.Trainer`` or TRL, how far each layer moves.

    The same monitor, options, results, keys and guarantees as
    :class:`~lightning_layerscope.callbacks.LayerSimilarityMonitor`; the options are those of
    :class:`~lightning_layerscope.monitor.callback.MonitorCallback`. What differs:

    - Results go to ``<args.output_dir>/<name>``, the prompts' texts to a folder beside ``args.output_dir``, which
      ``push_to_hub`` uploads.
    - The trackers of ``report_to`` get what Lightning's loggers get; any other logger gets the scalars through
      ``loggers``.
    - ``probes`` from a source of tasks use the trainer's ``processing_class``, or the tokenizer inside it.
    - A resumed run finds its baseline and history through the checkpoint's ``trainer_state.json``.
    - The trainer tells callbacks of no exception: the final rows are then logged when the process exits.
    - ``mode="passive"`` reads evaluations during training, one task per entry of a dict of evaluation datasets;
      ``eval_on_start=True`` makes the baseline.

    Example:
        >>> from lightning_layerscope.callbacks import TransformersLayerSimilarityMonitor  # doctest: +SKIP
        >>> trainer = Trainer(..., callbacks=[TransformersLayerSimilarityMonitor(probes)])  # doctest: +SKIP
    """

    _model: nn.Module | None = None
    _steps: EvaluationSteps | None = None
    _first: BeforeTheEnd | None = None
    _evaluated = False

    @contained
    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Resolve the probes and take the baseline, or find that of a resumed run."""
        self.monitor.crash()  # an earlier training of this process that ended by an exception
        self._let_go()
        self._model, self._evaluated, probes, retention = kwargs["model"], False, None, None
        if self._passive is None:
            with refusing():
                self._refuse_callback_metrics()
                probes = resolve_probes(self.settings, tokenizer=kwargs.get("processing_class"))
                retention = resolve_retention(self.settings, probes, kwargs.get("processing_class"))
        if state.global_step > 0 and (kept := (state.stateful_callbacks or {}).get(self._key)):
            self.monitor.load_state_dict(kept)
        # Only passive mode cannot do without the trainer itself; without it some trackers are missed.
        trainer = attempt(partial(calling_trainer, self))
        reporting = reporting_of(trainer.value, args.report_to)
        self.monitor.start(
            self._host_state(args, state),
            probes=probes,
            location=partial(self._location, args),
            sinks=partial(self._make_sinks, reporting),
            retention=retention,
            source=None if self._passive is None else self._passive.attach,
        )
        if self._passive is not None:
            if trainer.value is None:
                raise LookupError(trainer.error)
            self._passive.open(self._model, world=int(args.world_size))
            self._steps = EvaluationSteps(trainer.value, self._passive.begin_batch, self._passive.end_batch)
        if trainer.value is not None:
            self._first = BeforeTheEnd(trainer.value, _OnTrainEnd(self))
        crash_at_exit(self.monitor)
        self._remember(state)

    @contained
    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """In passive mode, measure once the evaluations of all datasets are through."""
        self._measure_passively(args, state)

    @contained
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure where due."""
        if self._model is None:
            return
        self.monitor.after_step(self._host_state(args, state))
        self._act(control)
        self._remember(state)

    @contained
    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Remember that there is a checkpoint of this step."""
        self.monitor.checkpoint(int(state.global_step))

    @contained
    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure where asked for; an evaluation outside a training measures nothing."""
        if self._model is None:
            return
        if self._passive is not None:
            self._passive.finish_task(_dataset_name(kwargs.get("metrics") or {}))
            self._evaluated = True
        else:
            self.monitor.after_validation(self._host_state(args, state))
            self._act(control)

    @contained
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take the last measurement; not where the trainer has put an earlier checkpoint's weights in its place."""
        if self._model is None:
            return
        loaded_best = args.load_best_model_at_end and state.best_model_checkpoint is not None
        if self._passive is not None:
            self._measure_passively(args, state)
        elif loaded_best:
            self.monitor.failures.warn(
                "load_best_model_at_end=True has replaced the last step's weights by the best checkpoint's: the last "
                "measurement is left out, so that no step shows another's weights"
            )
        self._let_go()
        self.monitor.end(self._host_state(args, state), measure=not loaded_best)
        self._model = None

    # What Lightning's Trainer asks for, by mistake, on the way to its first hook and from it.
    state_key = "TransformersLayerSimilarityMonitor"

    def on_exception(self, *_: Any, **__: Any) -> None:
        """Another trainer's hook, called with the error of :meth:`setup`."""

    def setup(self, *_: Any, **__: Any) -> None:
        """The first hook of another trainer's callbacks.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            "TransformersLayerSimilarityMonitor is for transformers.Trainer and TRL's trainers. In Lightning's Trainer "
            "use lightning_layerscope.callbacks.LayerSimilarityMonitor, with the same options."
        )

    @property
    def _key(self) -> str:
        return f"{type(self).__name__}/{self.settings.output.name}"

    def _remember(self, state: Any) -> None:
        """What must survive a restart travels in the checkpoint's ``trainer_state.json``."""
        if state.stateful_callbacks is not None:
            state.stateful_callbacks[self._key] = self.monitor.state_dict()

    def _let_go(self) -> None:
        """Leave the trainer as it was."""
        if self._first is not None:
            self._first.detach()
            self._first = None
        if self._steps is not None:
            self._steps.detach()
            self._steps = None
        if self._passive is not None:
            self._passive.close()

    def _act(self, control: Any) -> None:
        """End training where the user asked for that."""
        if self.monitor.standing.stop:
            control.should_training_stop = True

    def _measure_passively(self, args: Any, state: Any) -> None:
        if self._evaluated:  # on every rank alike, whatever it read
            self._evaluated = False
            self.monitor.after_validation(self._host_state(args, state))

    def _host_state(self, args: Any, state: Any) -> HostState:
        assert self._model is not None
        return HostState(
            model=self._model,
            step=state.global_step,
            host_step=state.global_step,
            autocast=partial(_autocast, args),
            total_steps=state.max_steps if state.max_steps > 0 else None,
        )

    def _location(self, args: Any) -> Location:
        published = Path(args.output_dir).absolute()
        name, given = self.settings.output.name, self.settings.output_dir
        return location_in(published / name if given is None else Path(given), published, name)

    def _make_sinks(self, reporting: Reporting, prompts: Path | Literal[False]) -> list[Any]:
        given, options = self.settings.loggers, self._log_options(prompts)
        found = reporting.loggers(given, per_task_keys=options["per_task_keys"], root=options["root"])
        sinks: list[Any] = []
        if given or found:
            from lightning_layerscope.sinks import sinks_for

            sinks = list(sinks_for([*given, *found.values()], host_step_key="train/global_step", **options))
        self.monitor.failures.say(message(sinks, reporting.without(found, given)))
        return sinks


class _OnTrainEnd(TrainerCallback):
    """Tells the monitor of the end of training before the callbacks of trackers close them."""

    def __init__(self, monitor: TransformersLayerSimilarityMonitor) -> None:
        self._monitor = monitor

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._monitor.on_train_end(args, state, control, **kwargs)


def _dataset_name(metrics: dict[str, Any]) -> str:
    """Of several evaluation datasets each is known by the prefix of its metrics: ``eval_<name>_runtime``."""
    key = next((key for key in metrics if key.endswith("_runtime")), "eval_runtime")
    return key.removesuffix("_runtime").removeprefix("eval").removeprefix("_") or "eval"


def _autocast(args: Any) -> AbstractContextManager[Any]:
    """The precision that the trainer runs forward passes in."""
    if args.bf16 or args.fp16:
        return torch.autocast(args.device.type, dtype=torch.bfloat16 if args.bf16 else torch.float16)
    return contextlib.nullcontext()
