"""LayerSimilarityMonitor for Lightning, in both of its namespaces."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning_layerscope.compat.lightning import logging_step
from lightning_layerscope.monitor.folder import prompts_to_upload
from lightning_layerscope.monitor.host_state import HostState
from lightning_layerscope.monitor.monitor import Monitor
from lightning_layerscope.monitor.passive import PassiveSource, dataloader_names
from lightning_layerscope.monitor.settings import make_settings, resolve_probes
from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.references import ReferenceBank

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


class LayerSimilarityMonitor(_Callback):
    """Measures, while a model is fine-tuned, how far each layer moves from a reference, task by task.

    A fixed set of probe prompts goes through the model now and then; their hidden states are compared with those of the
    reference. Training is not changed: losses and weights are bitwise those of the run without the monitor. A
    measurement that fails is warned about once, and training goes on.

    Works in the ``Trainer`` of ``lightning.pytorch`` and of ``pytorch_lightning``, with any logger or none.

    Logged keys (loggers other than W&B and TensorBoard get the scalars): per measurement
    ``layerscope/<measure>/layer_<l>`` (mean over tasks), ``layerscope/<measure>/cluster/<cluster>`` (mean over layers),
    ``layerscope/transition/start`` and ``/end``, ``layerscope/seconds`` (s), ``layerscope/overhead`` (share of the
    run's wall time), and pictures. All of it also lies in ``output_dir``: ``profile.parquet/``, ``matrices/``,
    ``measurements/``, ``config.json``, ``reference/``, ``report.html``.

    Args:
        probes: What to measure on: a ``ProbeSet``; or the path of a saved one; or a source of tasks (a folder of JSONL
            files, a folder written by ``save_to_disk``, ``"toy"``, ``"flan"``, a name on the hub), which needs a
            tokenizer; or ``"datamodule"``, whose ``probe_tasks()`` is asked. In passive mode: None.
        tokenizer: Folder or hub name, for a source of tasks; default is the ``tokenizer`` of the module or the data
            module.
        probe_options: For a source of tasks: ``examples_per_task``, ``split``, ``seed``, ``max_length``,
            ``min_examples``, ``template``, ``token_choice``.
        reference: ``"initial"`` is this run at its beginning; ``"base"`` the model with its adapters off; or the folder
            of a stored ``ReferenceBank``.
        every_n_steps: Measure at every multiple of this many optimiser steps.
        at_steps: Measure at these steps.
        geometric: Measure at steps that grow by this ratio. The default, with ratio 2, if no other trigger is given.
        on_validation_end: Measure at every end of a validation inside training.
        measure: ``"cka"`` or another measure of :func:`~lightning_layerscope.compare`.
        estimator: ``"debiased"`` or ``"biased"``.
        max_overhead: Share of the run's wall time that measurements between the first and the last may take; due
            ones that would take more are left out. None for no limit.
        mode: ``"active"`` runs the probes through the model; ``"passive"`` reads the hidden states of your own
            validation, one named dataloader per task, at no extra forward pass, also under FSDP and DeepSpeed.
        output_dir: Folder of the results; default is ``<name>`` in the logger's folder, or in ``default_root_dir``. A
            folder of another run is never written to: a number is added.
        layers: Which layers: numbers, or ``"all"``, ``"last"``, ``"1,4,8-12"``; any other text names the layer list
            or is a pattern of the layers' names, as ``layer_modules`` is.
        layer_modules: Where the layers are, if they are not found: ``"encoder.blocks"`` or a pattern ``"blocks.*"``.
        forward: For modules outside transformers: runs the layers, ``forward(module, input_ids, attention_mask)``.
        embeddings: Measure layer 0, what goes into the first layer, too.
        max_tokens_per_batch: Bound of the padded tokens in one forward pass.
        ranks: With several processes ``"share"`` gives each a part of the tasks; ``"zero"`` leaves all to rank 0.
        mid_run_baseline: What to do when training begins at a later step and the baseline of its beginning is not
            there: ``"refuse"`` to measure, or ``"flag"``: compare with that step, under that name.
        task_keys: Log a key per task and layer, too.
        upload_prompts: Upload the prompts' texts to W&B; by default they stay in ``output_dir``.
        report: Write ``report.html`` after every measurement.
        name: Of the results' folder and in the checkpoint; two monitors in one trainer need different ones.
        verbose: Print the cost before and after.

    Raises:
        ValueError: For options out of range.
        TypeError: For probes or a reference of another type.

    Example:
        >>> from lightning_layerscope.callbacks import LayerSimilarityMonitor     # doctest: +SKIP
        >>> trainer = Trainer(callbacks=[LayerSimilarityMonitor(probes, every_n_steps=200)])  # doctest: +SKIP
    """

    def __init__(
        self,
        probes: ProbeSet | str | None = None,
        tokenizer: str | None = None,
        probe_options: dict[str, Any] | None = None,
        reference: str | ReferenceBank = "initial",
        every_n_steps: int | None = None,
        at_steps: list[int] | None = None,
        geometric: float | None = None,
        on_validation_end: bool = False,
        measure: str = "cka",
        estimator: str = "debiased",
        max_overhead: float | None = 0.02,
        mode: Literal["active", "passive"] = "active",
        output_dir: str | None = None,
        layers: list[int] | str | None = None,
        layer_modules: str | None = None,
        forward: Callable[..., Any] | None = None,
        embeddings: bool = False,
        max_tokens_per_batch: int | None = None,
        ranks: Literal["share", "zero"] = "share",
        mid_run_baseline: Literal["refuse", "flag"] = "refuse",
        task_keys: bool = False,
        upload_prompts: bool = False,
        report: bool = True,
        name: str = "layerscope",
        verbose: bool = True,
    ) -> None:
        super().__init__()
        self.settings = make_settings(
            probes,
            tokenizer=tokenizer,
            probe_options=probe_options,
            reference=reference,
            every_n_steps=every_n_steps,
            at_steps=at_steps,
            geometric=geometric,
            on_validation_end=on_validation_end,
            measure=measure,
            estimator=estimator,
            layers=layers,
            layer_modules=layer_modules,
            forward=forward,
            embeddings=embeddings,
            max_tokens_per_batch=max_tokens_per_batch,
            max_overhead=max_overhead,
            mode=mode,
            ranks=ranks,
            mid_run_baseline=mid_run_baseline,
            output_dir=output_dir,
            name=name,
            task_keys=task_keys,
            upload_prompts=upload_prompts,
            report=report,
            verbose=verbose,
        )
        self.monitor = Monitor(self.settings)
        self._probes: ProbeSet | None = None
        self._passive = PassiveSource(self.settings) if mode == "passive" else None
        self._tasks: list[str] = []

    @property
    def state_key(self) -> str:
        """Tells monitors in one trainer apart in the checkpoint: by name, reference and measure."""
        settings = self.settings
        return self._generate_state_key(name=settings.name, reference=settings.reference_kind, measure=settings.measure)

    def state_dict(self) -> dict[str, Any]:
        """Primitives only; measurements and reference are in files."""
        return self.monitor.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a checkpoint's state, for the next ``fit``."""
        self.monitor.load_state_dict(state_dict)

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Resolve the probes; what was configured wrongly ends the run here, before it costs anything."""
        if stage != "fit" or self.settings.mode == "passive":
            return
        offers = (getattr(owner, "tokenizer", None) for owner in (pl_module, trainer.datamodule))
        self._probes = resolve_probes(
            self.settings,
            tokenizer=next((found for found in offers if found is not None), None),
            datamodule=trainer.datamodule,
        )

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Take the baseline. Not in ``on_fit_start``: there a resumed run still counts 0 steps."""
        self.monitor.start(
            self._host_state(trainer, pl_module),
            probes=self._probes,
            folder=self._folder(trainer),
            sinks=lambda folder: self._make_sinks(trainer, folder),
            source=None if self._passive is None else self._passive.attach,
        )

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Measure where due."""
        self.monitor.after_step(self._host_state(trainer, pl_module))

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """In passive mode, begin to read; in the sanity check only if it is a whole validation before training."""
        if self._passive is None or not (_fitting(trainer) or _whole_sanity_check(trainer)):
            return
        with self.monitor.failures.contained():
            self._tasks = dataloader_names(trainer.val_dataloaders, self.settings.probe_options)
            self._passive.open(pl_module, world=trainer.world_size)

    def on_validation_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """In passive mode, say whose the coming hidden states are."""
        if self._passive is not None and dataloader_idx < len(self._tasks):
            self._passive.batch(self._tasks[dataloader_idx], batch)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure where asked for; not in the sanity check, nor in ``trainer.validate``."""
        if self._passive is not None:
            self._passive.close()
        if _fitting(trainer):
            self.monitor.after_validation(self._host_state(trainer, pl_module))

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Take the last measurement. In ``on_fit_end`` the model may have left its device."""
        self.monitor.end(self._host_state(trainer, pl_module))

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Finish from the last measurement."""
        if self._passive is not None:
            self._passive.close()
        self.monitor.crash()

    def _host_state(self, trainer: Any, pl_module: Any) -> HostState:
        return HostState(
            model=pl_module,
            step=trainer.global_step,
            host_step=logging_step(trainer),
            autocast=trainer.precision_plugin.forward_context,
            total_steps=_total_steps(trainer),
        )

    def _folder(self, trainer: Any) -> Path | None:
        if trainer.fast_dev_run:
            return None
        if self.settings.output_dir is not None:
            return Path(self.settings.output_dir)
        for logger in trainer.loggers:
            if found := _logger_folder(logger):
                return found / self.settings.name
        return Path(trainer.default_root_dir) / self.settings.name

    def _make_sinks(self, trainer: Any, folder: Path | None) -> list[Any]:
        if trainer.fast_dev_run or not trainer.loggers:
            return []
        from lightning_layerscope.sinks import sinks_for

        prompts = prompts_to_upload(folder, self.settings.upload_prompts)
        return list(sinks_for(trainer.loggers, per_task_keys=self.settings.task_keys, upload_prompts=prompts))


def _fitting(trainer: Any) -> bool:
    return not trainer.sanity_checking and str(getattr(trainer.state.fn, "value", trainer.state.fn)) == "fit"


def _whole_sanity_check(trainer: Any) -> bool:
    return bool(trainer.sanity_checking and math.isinf(trainer.num_sanity_val_steps))


def _total_steps(trainer: Any) -> int | None:
    """Optimiser steps of the run. Not ``estimated_stepping_batches``, which may make the dataloader anew."""
    if trainer.max_steps is not None and trainer.max_steps > 0:
        return int(trainer.max_steps)
    batches, epochs = trainer.num_training_batches, trainer.max_epochs
    if epochs is None or epochs < 0 or not math.isfinite(batches):
        return None
    return int(math.ceil(batches / trainer.accumulate_grad_batches) * epochs)


def _logger_folder(logger: Any) -> Path | None:
    """A folder of this run's own, as checkpoints have: the logger's, or its project and version."""
    own = getattr(logger, "log_dir", None)
    if own:
        return Path(own)
    place = getattr(logger, "save_dir", None)
    if not place:
        return None
    version = getattr(logger, "version", None)
    version = f"version_{version}" if isinstance(version, int) else str(version or "")
    return Path(place) / str(getattr(logger, "name", None) or "") / version
