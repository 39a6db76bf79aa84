"""TransformersLayerSimilarityMonitor: the same monitor for `transformers.Trainer` and TRL."""

from __future__ import annotations

import atexit
import contextlib
import sys
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from lightning_layerscope.monitor.folder import prompts_to_upload
from lightning_layerscope.monitor.host_state import HostState
from lightning_layerscope.monitor.monitor import Monitor
from lightning_layerscope.monitor.passive import PassiveSource
from lightning_layerscope.monitor.settings import make_settings, resolve_probes
from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.references import ReferenceBank

if TYPE_CHECKING:

    class TrainerCallback:
        """Stands for transformers' own, which has no types here."""
else:
    from transformers import TrainerCallback


class TransformersLayerSimilarityMonitor(TrainerCallback):
    """Measures, while a model is fine-tuned with ``transformers.Trainer`` or TRL, how far each layer moves.

    The same core, results, keys and guarantees as :class:`~lightning_layerscope.callbacks.LayerSimilarityMonitor`; see
    there for the arguments. What differs:

    - Results go to ``<args.output_dir>/<name>``; scalars and pictures to W&B with ``report_to="wandb"``.
    - ``probes`` from a source of tasks use the trainer's ``processing_class``.
    - Other loggers get the scalars through ``loggers``: objects with ``log_metrics(row, step=...)``.
    - A resumed run finds its baseline and history through the checkpoint's ``trainer_state.json``.
    - The trainer tells callbacks of no exception: the final rows are then logged when the process exits.
    - ``mode="passive"`` reads evaluations during training, one task per entry of a dict of evaluation datasets;
      ``eval_on_start=True`` makes the baseline.

    Raises:
        ValueError: For options out of range.
        TypeError: For probes or a reference of another type.

    Example:
        >>> from lightning_layerscope.callbacks import TransformersLayerSimilarityMonitor  # doctest: +SKIP
        >>> trainer = Trainer(..., callbacks=[TransformersLayerSimilarityMonitor(probes)])  # doctest: +SKIP
    """

    def __init__(
        self,
        probes: ProbeSet | str | None = None,
        tokenizer: Any = None,
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
        loggers: Sequence[Any] = (),
    ) -> None:
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
        self.loggers = list(loggers)
        self._passive = PassiveSource(self.settings) if mode == "passive" else None
        self._model: Any = None
        self._evaluated = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Resolve the probes and take the baseline, or find that of a resumed run."""
        self.monitor.crash()  # an earlier training of this process that ended by an exception
        self._model, probes = kwargs["model"], None
        if self._passive is None:
            probes = resolve_probes(self.settings, tokenizer=kwargs.get("processing_class"))
        else:
            with self.monitor.failures.contained():
                self._passive.open(self._model, world=int(args.world_size), only_in_eval=True)
        if state.global_step > 0 and (kept := (state.stateful_callbacks or {}).get(self._key)):
            self.monitor.load_state_dict(kept)
        self.monitor.start(
            self._host_state(args, state),
            probes=probes,
            folder=Path(self.settings.output_dir or Path(args.output_dir) / self.settings.name),
            sinks=partial(self._make_sinks, args),
            source=None if self._passive is None else self._passive.attach,
        )
        atexit.register(_crash_later, weakref.ref(self.monitor))
        self._remember(state)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """In passive mode, measure once the evaluations of all datasets are through."""
        self._measure_passively(args, state)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure where due."""
        self.monitor.after_step(self._host_state(args, state))
        self._remember(state)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure where asked for; an evaluation outside a training measures nothing."""
        if self._model is None:
            return
        if self._passive is not None:
            self._passive.finish_task(_dataset_name(kwargs.get("metrics") or {}))
            self._evaluated = True
        else:
            self.monitor.after_validation(self._host_state(args, state))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take the last measurement; not where the trainer has put an earlier checkpoint's weights in its place."""
        loaded_best = args.load_best_model_at_end and state.best_model_checkpoint is not None
        if self._passive is not None:
            self._measure_passively(args, state)
            self._passive.close()
        elif loaded_best:
            self.monitor.failures.warn(
                "load_best_model_at_end=True has replaced the last step's weights by the best checkpoint's: the last "
                "measurement is left out, so that no step shows another's weights"
            )
        self.monitor.end(self._host_state(args, state), measure=not loaded_best)
        self._model = None

    @property
    def _key(self) -> str:
        return f"{type(self).__name__}/{self.settings.name}"

    def _remember(self, state: Any) -> None:
        """What must survive a restart travels in the checkpoint's ``trainer_state.json``."""
        if state.stateful_callbacks is not None:
            state.stateful_callbacks[self._key] = self.monitor.state_dict()

    def _measure_passively(self, args: Any, state: Any) -> None:
        if self._evaluated:  # on every rank alike, whatever it read
            self._evaluated = False
            self.monitor.after_validation(self._host_state(args, state))

    def _host_state(self, args: Any, state: Any) -> HostState:
        return HostState(
            model=self._model,
            step=state.global_step,
            host_step=state.global_step,
            autocast=partial(_autocast, args),
            total_steps=state.max_steps if state.max_steps > 0 else None,
        )

    def _make_sinks(self, args: Any, folder: Path | None) -> list[Any]:
        places = list(self.loggers)
        # The trainer's own W&B callback comes first and has opened the run; without it wandb may not even be loaded.
        run = getattr(sys.modules.get("wandb"), "run", None) if "wandb" in args.report_to else None
        if run is not None and not any(place is run for place in places):
            places.append(run)
        if not places:
            return []
        from lightning_layerscope.sinks import sinks_for

        return list(
            sinks_for(
                places,
                host_step_key="train/global_step",
                per_task_keys=self.settings.task_keys,
                upload_prompts=prompts_to_upload(folder, self.settings.upload_prompts),
            )
        )


def _crash_later(monitor: weakref.ref[Monitor]) -> None:
    """The process exits: whoever still runs was ended by an exception or an interruption."""
    found = monitor()
    if found is not None:
        found.crash()


def _dataset_name(metrics: dict[str, Any]) -> str:
    """Of several evaluation datasets each is known by the prefix of its metrics: ``eval_<name>_runtime``."""
    found = next((key for key in metrics if key.endswith("_runtime")), "eval_runtime")
    return found.removesuffix("_runtime").removeprefix("eval").removeprefix("_") or "eval"


def _autocast(args: Any) -> AbstractContextManager[Any]:
    """The precision that the trainer runs forward passes in."""
    if args.bf16 or args.fp16:
        return torch.autocast(args.device.type, dtype=torch.bfloat16 if args.bf16 else torch.float16)
    return contextlib.nullcontext()
