"""What ``layerscope demo`` runs: fine-tune a small model with the monitor attached, and say what it saw."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_layerscope.atomic import replace_file
from lightning_layerscope.measurements import RunRecord
from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.tasks import PromptTemplate, TaskCollection, load_tasks
from lightning_layerscope.training.quiet import quiet

if TYPE_CHECKING:
    from lightning_layerscope.training import InstructionDataModule, TaskScore

PROJECT = "layerscope-demo"
RESULTS, TUNED, BASE, SUMMARY = "results", "tuned", "base", "demo.json"

# Of the run, closer where representations move most; the first and the last measurement come on top.
_SHARES = (0.02, 0.05, 0.12, 0.25, 0.5, 0.75)
_WIDTH, _LAYERS, _HEADS, _VOCABULARY = 128, 10, 4, 3072
_MAX_LENGTH, _BATCH = 192, 16


@dataclass(frozen=True)
class DemoOptions:
    """What the demo may be told.

    Attributes:
        tasks: any source of `load_tasks`.
        model: folder or hub name of a model to tune; by default a small Llama is made and pre-trained.
        steps: optimiser steps of the fine-tuning, at least 6.
        pretrain_steps: steps of the pre-training of the small Llama.
        out: folder of all results.
        seed: of everything.
        examples_per_task: probe prompts per task.
        lora: train adapters instead of all weights.
        chat: use the tokenizer's chat template.
    """

    tasks: str = "toy"
    model: str | None = None
    steps: int = 300
    pretrain_steps: int = 200
    out: Path = Path(PROJECT)
    seed: int = 0
    examples_per_task: int = 32
    lora: bool = False
    chat: bool = False

    def __post_init__(self) -> None:
        if self.steps <= len(_SHARES) - 1:
            raise ValueError(f"the demo measures while it trains: expected --steps of 6 or more, got {self.steps}")
        if self.examples_per_task < 4:
            raise ValueError(f"expected 4 or more examples per task, got {self.examples_per_task}")
        if self.pretrain_steps < 1:
            raise ValueError(f"expected 1 or more steps of pre-training, got {self.pretrain_steps}")


@dataclass(frozen=True)
class DemoResult:
    """What came out.

    Attributes:
        folder: of all results.
        report: the HTML report.
        record: the measurements.
        before: held-out scores by task, before the fine-tuning.
        after: the same afterwards.
        wandb_folder: of the offline run; None when it was logged online or not at all.
        wandb_url: of the online run.
        seconds: wall time.
    """

    folder: Path
    report: Path
    record: RunRecord
    before: dict[str, TaskScore]
    after: dict[str, TaskScore]
    wandb_folder: Path | None
    wandb_url: str | None
    seconds: float


def run_demo(options: DemoOptions, *, say: Callable[[str], None] = print, bars: bool = True) -> DemoResult:
    """Make or load a model, fine-tune it with the monitor attached, and keep everything in one folder.

    The folder holds ``results/`` (report, profile, reference), ``wandb/``, the model before (``base/``, where it was
    made here) and after (``tuned/``), and ``demo.json``. One that is taken is left alone: the next free ``<out>-2``,
    ``<out>-3``, ... is used.

    Args:
        options: what to run.
        say: gets each line for people.
        bars: show progress.

    Raises:
        ValueError, FileNotFoundError, ImportError: for options, tasks or models that do not fit or are not there.
        RuntimeError: when measuring failed.
    """
    begin = time.perf_counter()
    tasks = load_tasks(options.tasks, splits=["train", "test"])
    folder = free_folder(Path(options.out))
    say(f"{len(tasks)} tasks in {len(set(tasks.clusters.values()))} clusters from {options.tasks}; results: {folder}")
    with quiet():
        model, tokenizer = _model(options, tasks, folder, say, bars)
        template = PromptTemplate(chat=options.chat)
        probes = ProbeSet.from_tasks(
            tasks,
            tokenizer,
            examples_per_task=options.examples_per_task,
            min_examples=min(options.examples_per_task, 32),
            max_length=_MAX_LENGTH,
            template=template,
            seed=options.seed,
        )
        probes.check_model(model)
        datamodule = _data(options, tasks, tokenizer, template)
        from lightning_layerscope.training import add_lora, score_tasks

        before = score_tasks(model, datamodule)
        if options.lora:
            model = add_lora(model, seed=options.seed)
        record, wandb_folder, url = _fine_tune(options, model, datamodule, probes, folder, bars)
        after = score_tasks(model, datamodule)
        model.save_pretrained(folder / TUNED)
        tokenizer.save_pretrained(folder / TUNED)
    result = DemoResult(
        folder,
        folder / RESULTS / "report.html",
        record,
        before,
        after,
        wandb_folder,
        url,
        time.perf_counter() - begin,
    )
    _write_summary(options, result)
    return result


def free_folder(wanted: Path) -> Path:
    """The folder itself, or with the first number that makes it new.

    Raises:
        FileExistsError: when the path is a file.
    """
    if wanted.is_file():
        raise FileExistsError(f"{wanted} is a file; name a folder with --out")
    place, number = wanted, 1
    while place.exists() and any(place.iterdir()):
        number += 1
        place = wanted.with_name(f"{wanted.name}-{number}")
    place.mkdir(parents=True, exist_ok=True)
    return place


def measured_steps(steps: int) -> list[int]:
    """The steps between the first and the last at which the demo measures, all different.

    Example:
        >>> measured_steps(300), measured_steps(6)
        ([6, 15, 36, 75, 150, 225], [1, 2, 3, 4, 5])
    """
    chosen: list[int] = []
    for share in _SHARES:
        chosen.append(max(round(share * steps), chosen[-1] + 1 if chosen else 1))
    return [step for step in chosen if step < steps]


def _model(
    options: DemoOptions, tasks: TaskCollection, folder: Path, say: Callable[[str], None], bars: bool
) -> tuple[Any, Any]:
    if options.model is not None:
        from lightning_layerscope.training import load_model

        model, tokenizer = load_model(options.model)
        say(f"{options.model}: {_millions(model)}M parameters")
        return model.float(), tokenizer
    from lightning_layerscope.training import pretrain, raw_texts, small_llama, train_tokenizer
    from lightning_layerscope.training.bars import Bar

    tokenizer = train_tokenizer(tasks.texts("train"), vocab_size=_VOCABULARY)
    model = small_llama(tokenizer, width=_WIDTH, layers=_LAYERS, heads=_HEADS, seed=options.seed)
    say(f"a Llama of {_LAYERS} layers, width {_WIDTH}, {_millions(model)}M parameters, new; {len(tokenizer)} tokens")
    bar = Bar("pre-training", options.pretrain_steps, show=bars)
    pretrain(
        model,
        tokenizer,
        raw_texts(tasks),
        steps=options.pretrain_steps,
        seed=options.seed,
        progress=lambda step, loss: bar.to(step, f"loss {loss:.2f}"),
    )
    bar.close()
    model.save_pretrained(folder / BASE)
    tokenizer.save_pretrained(folder / BASE)
    return model, tokenizer


def _data(
    options: DemoOptions, tasks: TaskCollection, tokenizer: Any, template: PromptTemplate
) -> InstructionDataModule:
    from lightning_layerscope.training import InstructionDataModule

    # Rows that the run would not come to need not be tokenised.
    needed = max(8, -(-options.steps * _BATCH // len(tasks)))
    return InstructionDataModule(
        tasks,
        tokenizer,
        template=template,
        batch_size=_BATCH,
        max_length=_MAX_LENGTH,
        max_examples_per_task=needed,
        max_test_examples=options.examples_per_task,
        seed=options.seed,
    )


def _fine_tune(
    options: DemoOptions, model: Any, datamodule: InstructionDataModule, probes: ProbeSet, folder: Path, bars: bool
) -> tuple[RunRecord, Path | None, str | None]:
    import pytorch_lightning as pl
    from pytorch_lightning.loggers import WandbLogger

    from lightning_layerscope.callbacks import LayerSimilarityMonitor
    from lightning_layerscope.training import InstructionModule
    from lightning_layerscope.training.bars import Bar
    from lightning_layerscope.training.progress import ProgressCallback

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
        verbose=False,
    )
    trainer = pl.Trainer(
        max_steps=options.steps,
        max_epochs=-1,
        logger=logger,
        callbacks=[monitor, ProgressCallback(Bar("fine-tuning", options.steps, show=bars))],
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
    place, url = getattr(run, "dir", None), getattr(run, "url", None)
    run.finish()
    # From disk: what cannot be read back was not kept.
    record = RunRecord.load(folder / RESULTS)
    wanted = len(measured_steps(options.steps)) + 2
    if len(record) < wanted:
        raise RuntimeError(f"only {len(record)} of {wanted} measurements were taken; the notes above say why")
    offline = mode in ("offline", "dryrun") and place is not None
    return record, Path(str(place)).parent if offline else None, None if offline else url


def _start(logger: Any) -> Any:
    """Start the run now: without an account it fails here, before anything is trained."""
    # The default that Lightning passes on is one that W&B warns about, before it can be told to be silent.
    getattr(logger, "_wandb_init", {}).pop("anonymous", None)
    try:
        return logger.experiment
    except Exception as error:
        if not type(error).__module__.startswith("wandb."):
            raise
        raise ValueError(
            f"Weights & Biases could not start the run ({error}); log in with `wandb login`, or leave WANDB_MODE unset "
            "to log offline"
        ) from error


def _learning_rate(options: DemoOptions) -> float:
    if options.model is None:
        return 5e-4 if not options.lora else 5e-3
    return 5e-5 if not options.lora else 5e-4


def _millions(model: Any) -> str:
    return f"{sum(parameter.numel() for parameter in model.parameters()) / 1e6:.1f}"


def _write_summary(options: DemoOptions, result: DemoResult) -> None:
    content = {
        "options": {key: str(value) if isinstance(value, Path) else value for key, value in asdict(options).items()},
        "seconds": round(result.seconds, 1),
        "measured_steps": result.record.steps,
        "transition": result.record.measurements[-1].transition.to_dict(),
        "scores": {
            task: {"before": asdict(result.before[task]), "after": asdict(result.after[task])} for task in result.before
        },
    }
    with replace_file(result.folder / SUMMARY) as passing:
        passing.write_text(json.dumps(content, indent=1), encoding="utf-8")
