"""One training of a study: Lightning's trainer with the monitor and the loggers attached."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_layerscope.compat.lightning import is_wandb_logger
from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.study.engine.store import Store
from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.stages.context import StudyContext
from lightning_layerscope.study.stages.data import TRAIN, DataStage
from lightning_layerscope.study.stages.probes import ProbesStage

if TYPE_CHECKING:
    from lightning_layerscope.study.stages.train import TrainStage


def fit(stage: TrainStage, module: Any, data: Any, context: StudyContext, folder: Path) -> int:
    """Train, and give the number of optimiser steps.

    Args:
        stage: Which training.
        module: The model with its loss.
        data: The rows.
        context: The context of the study.
        folder: Gets ``log/`` and ``monitor/``, and ``convergence.json`` where the loss on rows set aside ends it.
    """
    from pytorch_lightning import Trainer
    from pytorch_lightning.loggers import CSVLogger

    from lightning_layerscope.training.lightning_progress import ProgressCallback

    recipe = stage.recipe.training
    steps = None if stage.paced_by is None else stage.paced_by.load(context.store).record.steps
    epochs = recipe.epochs if stage.judged_by is None else recipe.control_max_epochs
    callbacks = [_monitor(stage, context, folder), ProgressCallback(stage.name)]
    if stage.judged_by is not None:
        callbacks.insert(0, _until_converged(stage.judged_by, stage, data, context, folder))
    with _environment("WANDB_MODE"):
        loggers: list[Any] = [CSVLogger(str(folder), name="log", version="")]
        if context.plan.wandb is not None:
            loggers += _wandb_loggers(stage, folder, context.plan)
        trainer = Trainer(
            accelerator=recipe.accelerator,
            devices=recipe.devices,
            strategy=recipe.strategy,
            precision=recipe.precision,
            max_epochs=epochs if steps is None else -1,
            max_steps=-1 if steps is None else steps,
            accumulate_grad_batches=recipe.accumulate,
            callbacks=callbacks,
            logger=loggers,
            log_every_n_steps=10,
            limit_val_batches=0,
            num_sanity_val_steps=0,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=str(folder),
        )
        try:
            trainer.fit(module, datamodule=data)
        except BaseException:
            _finish(loggers, 1)
            raise
        _finish(loggers, 0)
    return int(trainer.global_step)


def _until_converged(judged_by: DataStage, stage: TrainStage, data: Any, context: StudyContext, folder: Path) -> Any:
    from lightning_layerscope.study.stages.convergence import UntilConverged
    from lightning_layerscope.training.encoding import encode_examples

    task, recipe = judged_by.load(context.store), stage.recipe.training
    rows = encode_examples(
        task.name, task.split(TRAIN), context.tokenizer, template=data.template, max_length=recipe.max_length
    )
    return UntilConverged(
        rows,
        max_tokens_per_batch=context.plan.max_tokens_per_batch,
        bound=recipe.control_max_epochs,
        folder=folder,
    )


def _monitor(stage: TrainStage, context: StudyContext, folder: Path) -> Any:
    from lightning_layerscope.callbacks import LayerSimilarityMonitor

    recipe, plan = stage.recipe.training, context.plan
    return LayerSimilarityMonitor(
        _monitor_probes(stage.probes, context.store, recipe.monitor_examples),
        # Without any other trigger: the first and the last measurement, which are always taken.
        every_n_steps=recipe.monitor_every_n_steps,
        at_steps=None if recipe.monitor_every_n_steps else [0],
        max_overhead=None,
        output_dir=str(folder / "monitor"),
        report=stage.task is None,
        verbose=False,
        comparison=plan.comparison,
        extraction=plan.extraction,
    )


def _monitor_probes(stages: Sequence[ProbesStage], store: Store, count: int) -> ProbeSet:
    """The first prompts of each task's probes; they are in random order."""
    sets = [stage.load(store).probes for stage in stages]
    return sets[0].with_probes([probe.first(count) for each in sets for probe in each.values()])


def _wandb_loggers(stage: TrainStage, folder: Path, plan: StudyPlan) -> list[Any]:
    """The training's run; none where W&B cannot be had, which is no reason not to train."""
    from pytorch_lightning.loggers import WandbLogger

    assert plan.wandb is not None
    logger = WandbLogger(
        project=plan.wandb.project,
        entity=plan.wandb.entity,
        offline=plan.wandb.mode == "offline",
        save_dir=str(folder),
        group=plan.name,
        job_type=stage.kind,
        name=stage.name,
        # A killed training starts again under its own name instead of leaving half a run beside the whole one.
        id=f"{stage.kind}-{stage.fingerprint[:16]}",
        resume="allow",
        config={
            "role": stage.kind,
            "stage": stage.name,
            "fingerprint": stage.fingerprint,
            "study": plan.name,
            **{key: value for key, value in stage.settings().items() if key != "base"},
        },
    )
    if stage.recipe.training.strategy != "auto":
        return [logger]  # it is handed to other processes, and opens its run there
    try:
        logger.experiment  # noqa: B018  # Lightning opens the run when it is first asked for
    except Exception as error:
        warnings.warn(
            f"layerscope: W&B cannot be reached ({error!r}); {stage.name} is logged to {folder / 'log'} alone",
            stacklevel=2,
        )
        return []
    return [logger]


@contextmanager
def _environment(name: str) -> Iterator[None]:
    """Lightning's logger sets the mode for the whole process, which later runs would inherit."""
    before = os.environ.get(name)
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


def _finish(loggers: Sequence[Any], code: int) -> None:
    """Close W&B runs: the next training of this process needs one of its own."""
    for logger in loggers:
        if is_wandb_logger(logger):
            try:
                logger.experiment.finish(exit_code=code)
            except Exception as error:
                warnings.warn(
                    f"layerscope: W&B could not finish its run ({error!r}); the training is kept", stacklevel=2
                )
