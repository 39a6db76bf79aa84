"""Stages ``multitask`` and ``control:<task>@<seed>``: one Lightning run each, with the monitor attached."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lightning_layerscope.probes import Probe, ProbeSet
from lightning_layerscope.study.models import ModelRoom
from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.rows import PROBES, load_collection
from lightning_layerscope.study.stage_data import template_of
from lightning_layerscope.study.store import Stage, Store

MODEL, RECORD = "model", "training.json"


def train_model(stage: Stage, store: Store, folder: Path, plan: StudyPlan, room: ModelRoom, tokenizer: Any) -> None:
    """Train and write one model.

    Args:
        stage: ``multitask`` or a control; its data stages are done.
        store: Of the study.
        folder: Gets ``model/`` (the adapter, or the whole model), ``training.json`` and ``monitor/``.
        plan: The study's plan.
        room: Holds the base model; adapters are taken off it again.
        tokenizer: Of the base model.
    """
    from lightning_layerscope.training import InstructionDataModule, InstructionModule, add_lora

    recipe = plan.training
    seed = int(stage.settings["seed"])
    places = [store.folder(need) for need in stage.needs if need.kind == "data"]
    data = InstructionDataModule(
        load_collection(places),
        tokenizer,
        template=template_of(plan),
        batch_size=recipe.batch_size,
        max_length=recipe.max_length,
        seed=seed,
    )
    base, lora = room.base(), recipe.method == "lora"
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = base
            if lora:
                model = add_lora(
                    base,
                    target_modules=recipe.target_modules,
                    rank=recipe.rank,
                    alpha=recipe.alpha,
                    dropout=recipe.dropout,
                    seed=seed,
                )
            module = InstructionModule(
                model,
                tokenizer,
                learning_rate=recipe.learning_rate,
                warmup=recipe.warmup,
                weight_decay=recipe.weight_decay,
            )
            begun = time.monotonic()
            with _environment("WANDB_MODE"):
                steps = _fit(module, data, stage, store, folder, plan, _monitor_probes(places, recipe.monitor_examples))
            seconds = time.monotonic() - begun
        model.save_pretrained(str(folder / MODEL))
        if not lora:
            tokenizer.save_pretrained(str(folder / MODEL))
    finally:
        # An adapter or a full training has changed what lies in the room.
        _restore(room, model if lora and "model" in locals() else None)
    record = {
        "steps": steps,
        "rows": {task.name: len(task.split("train")) for task in data.tasks.values()},
        "cut": data.cut(),
        "seed": seed,
        "seconds": seconds,
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }
    (folder / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")


def _fit(module: Any, data: Any, stage: Stage, store: Store, folder: Path, plan: StudyPlan, probes: ProbeSet) -> int:
    from pytorch_lightning import Trainer
    from pytorch_lightning.loggers import CSVLogger

    from lightning_layerscope.callbacks import Comparison, Extraction, LayerSimilarityMonitor
    from lightning_layerscope.training.lightning_progress import ProgressCallback

    recipe = plan.training
    loggers: list[Any] = [CSVLogger(str(folder), name="log", version="")]
    if plan.wandb is not None:
        loggers.append(_wandb_logger(stage, folder, plan))
    monitor = LayerSimilarityMonitor(
        probes,
        # Without any other trigger: the first and the last measurement, which are always taken.
        every_n_steps=recipe.monitor_every_n_steps,
        at_steps=None if recipe.monitor_every_n_steps else [0],
        max_overhead=None,
        output_dir=str(folder / "monitor"),
        report=stage.kind == "multitask",
        verbose=False,
        comparison=Comparison(estimator=plan.estimator),
        extraction=Extraction(max_tokens_per_batch=plan.max_tokens_per_batch),
    )
    steps = _steps(stage, store)
    trainer = Trainer(
        accelerator=recipe.accelerator,
        devices=recipe.devices,
        strategy=recipe.strategy,
        precision=recipe.precision,
        max_epochs=recipe.epochs if steps is None else -1,
        max_steps=-1 if steps is None else steps,
        accumulate_grad_batches=recipe.accumulate,
        callbacks=[monitor, ProgressCallback(stage.name)],
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


def _steps(stage: Stage, store: Store) -> int | None:
    """As many as the multi-task model took, where the plan asks for equal steps."""
    for need in stage.needs:
        if need.kind == "multitask":
            return int(json.loads((store.folder(need) / RECORD).read_text(encoding="utf-8"))["steps"])
    return None


def _monitor_probes(places: Sequence[Path], count: int) -> ProbeSet:
    """The first prompts of each task's probes; they are in random order."""
    sets = [ProbeSet.load(place / PROBES) for place in places]
    probes = [_first(probe, count) for each in sets for probe in each.values()]
    like = sets[0]
    return ProbeSet(
        probes,
        token_choice=like.token_choice,
        tokenizer_name=like.tokenizer_name,
        vocab_size=like.vocab_size,
        template=like.template,
        max_length=like.max_length,
        split=like.split,
        seed=like.seed,
    )


def _first(probe: Probe, count: int) -> Probe:
    return replace(
        probe,
        example_ids=probe.example_ids[:count],
        texts=probe.texts[:count],
        input_ids=probe.input_ids[:count],
        sources=probe.sources[:count],
        truncated=min(probe.truncated, len(probe.texts[:count])),
    )


def _restore(room: ModelRoom, adapted: Any) -> None:
    if adapted is None or not hasattr(adapted, "unload"):
        room.drop()
        return
    bare = adapted.unload()
    if hasattr(bare, "peft_config"):
        del bare.peft_config
    bare.eval()


def _wandb_logger(stage: Stage, folder: Path, plan: StudyPlan) -> Any:
    from pytorch_lightning.loggers import WandbLogger

    assert plan.wandb is not None
    return WandbLogger(
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
            **{key: value for key, value in stage.settings.items() if key != "base"},
        },
    )


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
        if type(logger).__name__ == "WandbLogger":
            logger.experiment.finish(exit_code=code)
