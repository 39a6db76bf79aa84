"""The demo's fine-tuning: Lightning, the monitor, and a W&B run that needs no account."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_layerscope.compat.lightning import drop_anonymous
from lightning_layerscope.compat.wandb import is_wandb_error
from lightning_layerscope.demo import options as settings
from lightning_layerscope.demo.options import PROJECT, RESULTS, DemoOptions, measured_steps
from lightning_layerscope.measurements import RunRecord

if TYPE_CHECKING:
    from lightning_layerscope.probes import ProbeSet
    from lightning_layerscope.tasks import PromptTemplate, TaskCollection
    from lightning_layerscope.training import InstructionDataModule


def make_data(
    options: DemoOptions, tasks: TaskCollection, tokenizer: Any, template: PromptTemplate
) -> InstructionDataModule:
    """As much of the tasks as the run will see."""
    from lightning_layerscope.training import InstructionDataModule

    # Rows that the run would not come to need not be tokenised.
    needed = max(8, -(-options.steps * settings.BATCH // len(tasks)))
    return InstructionDataModule(
        tasks,
        tokenizer,
        template=template,
        batch_size=settings.BATCH,
        max_length=settings.MAX_LENGTH,
        max_examples_per_task=needed,
        max_test_examples=options.examples_per_task,
        seed=options.seed,
    )


def fine_tune(
    options: DemoOptions, model: Any, datamodule: InstructionDataModule, probes: ProbeSet, folder: Path
) -> tuple[RunRecord, Path | None, str | None]:
    """Train with the monitor attached; gives the record, and the folder or the address of the W&B run."""
    import pytorch_lightning as pl
    from pytorch_lightning.loggers import WandbLogger

    from lightning_layerscope.callbacks import LayerSimilarityMonitor
    from lightning_layerscope.training import InstructionModule
    from lightning_layerscope.training.lightning_progress import ProgressCallback

    pl.seed_everything(options.seed, verbose=False)
    # No account is needed: offline, unless the user says otherwise.
    mode = os.environ.get("WANDB_MODE", "offline")
    logger = WandbLogger(project=PROJECT, name=folder.name, save_dir=folder, offline=mode in ("offline", "dryrun"))
    run = _start(logger)
    monitor = LayerSimilarityMonitor(
        probes,
        at_steps=measured_steps(options.steps),
        # A run of a minute cannot hold to a share of its time and be looked at seven times.
        max_overhead=None,
        output_dir=str(folder / RESULTS),
        report=False,  # once, at the end: here nobody reads it in between
        verbose=False,
    )
    trainer = pl.Trainer(
        max_steps=options.steps,
        max_epochs=-1,
        logger=logger,
        callbacks=[monitor, ProgressCallback("fine-tuning", keep=True)],
        gradient_clip_val=1.0,
        log_every_n_steps=5,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = InstructionModule(model, datamodule.tokenizer, learning_rate=_learning_rate(options), warmup=0.1)
    trainer.fit(module, datamodule=datamodule)
    run_folder, url = getattr(run, "dir", None), getattr(run, "url", None)
    run.finish()
    # From disk: what cannot be read back was not kept.
    record = RunRecord.load(folder / RESULTS)
    wanted = len(measured_steps(options.steps)) + 2
    if len(record) < wanted:
        raise RuntimeError(f"only {len(record)} of {wanted} measurements were taken; the notes above say why")
    offline = mode in ("offline", "dryrun") and run_folder is not None
    return record, Path(str(run_folder)).parent if offline else None, None if offline else url


def _start(logger: Any) -> Any:
    """Start the run now: without an account it fails here, before the fine-tuning."""
    drop_anonymous(logger)
    try:
        return logger.experiment
    except Exception as error:
        if not is_wandb_error(error):
            raise
        raise ValueError(
            f"Weights & Biases could not start the run ({error}); log in with `wandb login`, or leave WANDB_MODE unset "
            "to log offline"
        ) from error


def _learning_rate(options: DemoOptions) -> float:
    if options.model is None:
        return 5e-4 if not options.lora else 5e-3
    return 5e-5 if not options.lora else 5e-4
