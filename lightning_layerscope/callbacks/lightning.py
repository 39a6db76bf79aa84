"""LayerSimilarityMonitor for Lightning, in both of its namespaces."""

from __future__ import annotations

import importlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning_layerscope.compat import lightning_trainer as host
from lightning_layerscope.compat.lightning import logging_step
from lightning_layerscope.monitor.attempts import attempt, refusing
from lightning_layerscope.monitor.callback import MonitorCallback, contained
from lightning_layerscope.monitor.host_state import HostState
from lightning_layerscope.monitor.loader_names import loader_names
from lightning_layerscope.monitor.location import Location, location_in
from lightning_layerscope.monitor.messages import sentence
from lightning_layerscope.monitor.probe_source import resolve_probes, resolve_retention
from lightning_layerscope.monitor.reporting import message
from lightning_layerscope.monitor.settings import is_remote
from lightning_layerscope.probes import ProbeSet

if TYPE_CHECKING:

    class _Callback:
        """Stands for the callbacks of ``lightning.pytorch`` and ``pytorch_lightning``."""

        def _generate_state_key(self, **kwargs: Any) -> str: ...
else:

    def _callback_base() -> type:
        """One class that is a callback in every installed namespace: their trainers accept only their own."""
        bases = []
        for namespace in ("lightning.pytorch", "pytorch_lightning"):
            try:
                bases.append(importlib.import_module(namespace).Callback)
            except ModuleNotFoundError as error:
                if error.name not in (namespace, namespace.partition(".")[0]):
                    raise
        if not bases:
            raise ModuleNotFoundError("The monitor needs Lightning: pip install pytorch-lightning")
        return type("_Callback", tuple(bases), {})

    _Callback = _callback_base()


class LayerSimilarityMonitor(MonitorCallback, _Callback):
    """Measures, while a model is fine-tuned, how far each layer moves from a reference, task by task.

    A fixed set of probe prompts goes through the model now and then; their hidden states are compared with those of the
    reference. Training is not changed: losses and weights are bitwise those of the run without the monitor. A
    measurement that fails is warned about once, and training goes on.

    Works in the ``Trainer`` of ``lightning.pytorch`` and of ``pytorch_lightning``, with any logger or none. The options
    are those of :class:`~lightning_layerscope.monitor.callback.MonitorCallback`.

    Logged keys (loggers other than W&B and TensorBoard get the scalars): per measurement
    ``layerscope/<measure>/layer_<l>`` (mean over tasks), ``layerscope/<measure>/cluster/<cluster>`` (mean over layers),
    ``layerscope/transition/start_layer`` and ``end_layer``, ``layerscope/cost/seconds``, ``cost/share_of_run`` (of its
    wall time), and pictures. All of it also lies in ``output_dir``.

    Example:
        >>> from lightning_layerscope.callbacks import LayerSimilarityMonitor     # doctest: +SKIP
        >>> trainer = Trainer(callbacks=[LayerSimilarityMonitor(probes, every_n_steps=200)])  # doctest: +SKIP
    """

    _probes: ProbeSet | None = None
    _retention: ProbeSet | None = None
    _tasks: tuple[str, ...] = ()
    _told_steps = False
    _last_row: int | None = None

    @property
    def state_key(self) -> str:
        """Tells monitors in one trainer apart in the checkpoint: by name, reference and measure."""
        settings = self.settings
        return self._generate_state_key(
            name=settings.output.name, reference=settings.reference_kind, measure=settings.measure
        )

    def state_dict(self) -> dict[str, Any]:
        """Primitives only; measurements and reference are in files."""
        return attempt(self.monitor.state_dict).value or {}

    @contained
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a checkpoint's state, for the next ``fit``."""
        self.monitor.load_state_dict(state_dict)

    @contained
    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        """Remember that there is a checkpoint of this step."""
        self.monitor.checkpoint(int(trainer.global_step))

    @contained
    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Resolve the probes; what was configured wrongly ends the run here, before it costs anything."""
        if stage != "fit" or self._passive is not None:
            return
        self._probes = self._retention = None
        datamodule = trainer.datamodule
        offers = [getattr(owner, "tokenizer", None) for owner in (pl_module, datamodule)]
        tokenizer = next((offer for offer in offers if offer is not None), None)
        with refusing():
            self._probes = resolve_probes(self.settings, tokenizer=tokenizer, datamodule=datamodule)
            self._retention = resolve_retention(self.settings, self._probes, tokenizer)

    @contained
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Take the baseline. Not in ``on_fit_start``: there a resumed run still counts 0 steps."""
        self._last_row = None
        self.monitor.start(
            self._host_state(trainer, pl_module),
            probes=self._probes,
            location=partial(self._location, trainer),
            sinks=partial(self._make_sinks, trainer),
            retention=self._retention,
            source=None if self._passive is None else self._passive.attach,
        )
        self._act(trainer)

    @contained
    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Measure where due."""
        state = self._host_state(trainer, pl_module)
        self._last_row = state.host_step
        self.monitor.after_step(state)
        self._act(trainer)

    @contained
    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """In passive mode, begin to read; in the sanity check only if it is a whole validation before training."""
        if self._passive is None or not (host.is_fitting(trainer) or host.is_whole_sanity_check(trainer)):
            return
        flattened = host.flattened_loaders(trainer)
        self._tasks = tuple(loader_names(trainer.val_dataloaders, flattened, self.settings.passive.tasks))
        self._passive.open(pl_module, world=trainer.world_size)

    @contained
    def on_validation_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """In passive mode, say whose the coming hidden states are."""
        if self._passive is not None and dataloader_idx < len(self._tasks):
            self._passive.begin_batch(batch, self._tasks[dataloader_idx])

    @contained
    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """In passive mode, read nothing until the next batch."""
        if self._passive is not None:
            self._passive.end_batch()

    @contained
    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure where asked for; not in the sanity check, nor in ``trainer.validate``."""
        if self._passive is not None:
            self._passive.close()
        if host.is_fitting(trainer):
            self.monitor.after_validation(self._host_state(trainer, pl_module))
            self._act(trainer)

    @contained
    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Take the last measurement. In ``on_fit_end`` the model may have left its device."""
        state = self._host_state(trainer, pl_module)
        # Lightning's count has moved on since the last batch, whose row stands under the number before.
        self.monitor.end(state if self._last_row is None else replace(state, host_step=self._last_row))
        self._act(trainer)

    @contained
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Finish from the last measurement."""
        if self._passive is not None:
            self._passive.close()
        self.monitor.crash()

    def on_init_end(self, *_: Any, **__: Any) -> None:
        """The first hook of another trainer's callbacks.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            "LayerSimilarityMonitor is for Lightning's Trainer. In transformers.Trainer and TRL's trainers use "
            "lightning_layerscope.callbacks.TransformersLayerSimilarityMonitor, with the same options."
        )

    on_train_begin = on_init_end

    def _act(self, trainer: Any) -> None:
        """What the user asked to be done with what was found; nothing where nothing was asked for."""
        standing = self.monitor.standing
        if standing.values:
            host.add_callback_metrics(trainer, standing.values)
        if standing.stop:
            trainer.should_stop = True

    def _host_state(self, trainer: Any, pl_module: Any) -> HostState:
        step = int(trainer.global_step)
        logged = logging_step(trainer)
        if logged is None and not self._told_steps:
            self._told_steps = True
            self.monitor.failures.warn(
                "this version of Lightning does not tell which step it logs by; rows are logged by global_step instead"
            )
        return HostState(
            model=pl_module,
            step=step,
            host_step=step if logged is None else logged,
            autocast=trainer.precision_plugin.forward_context,
            total_steps=host.planned_steps(trainer),
        )

    def _location(self, trainer: Any) -> Location:
        if trainer.fast_dev_run:
            return Location(None)
        name, given = self.settings.output.name, self.settings.output_dir
        if given is not None:
            return Location(Path(given))
        notes = []
        for logger in trainer.loggers:
            asked = attempt(partial(host.logger_folder, logger))
            if asked.error:
                self.monitor.failures.add(
                    type(logger).__name__, f"{sentence(asked.error)} Its folder is unknown; results go elsewhere."
                )
            elif isinstance(asked.value, Path):
                folder = asked.value.absolute()
                return (
                    Location(folder / name)
                    if host.keeps_its_folder(logger)
                    else location_in(folder / name, folder, name)
                )
            elif asked.value:
                notes.append(asked.value)
        root = str(trainer.default_root_dir)
        if is_remote(root):
            notes.append(root)
        folder = (Path.cwd() if is_remote(root) else Path(root)).absolute() / name
        note = (
            f"{' and '.join(notes)} is no folder of this machine: results go to {folder}. Name another with output_dir="
        )
        return Location(folder, note=f"{note}." if notes else "")

    def _make_sinks(self, trainer: Any, prompts: Path | Literal[False]) -> list[Any]:
        if trainer.fast_dev_run:
            return []
        loggers = [*trainer.loggers, *self.settings.loggers]
        if not loggers:
            return []
        from lightning_layerscope.sinks import sinks_for

        sinks = list(sinks_for(loggers, **self._log_options(prompts)))
        self.monitor.failures.say(message(sinks))
        return sinks
