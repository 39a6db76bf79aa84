"""The demo from end to end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_layerscope.atomic import replace_file
from lightning_layerscope.demo import options as settings
from lightning_layerscope.demo.options import BASE, RESULTS, SUMMARY, TUNED, DemoOptions, DemoResult, free_folder
from lightning_layerscope.demo.tuning import fine_tune, make_data
from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.references.identity import MIN_EXAMPLES
from lightning_layerscope.sinks.report import write_report
from lightning_layerscope.tasks import PromptTemplate, TaskCollection, load_tasks
from lightning_layerscope.tasks.hold_out import hold_out
from lightning_layerscope.tasks.task import MissingSplitError
from lightning_layerscope.training.progress import Progress, showing
from lightning_layerscope.training.quiet import quiet
from lightning_layerscope.wording import count

if TYPE_CHECKING:
    from lightning_layerscope.training import InstructionDataModule, TaskScore

WIDTH, LAYERS, HEADS, VOCABULARY = 128, 10, 4, 3072


def run_demo(options: DemoOptions, *, say: Callable[[str], None] = print, bars: bool = True) -> DemoResult:
    """Make or load a model, fine-tune it with the monitor attached, and keep everything in one folder.

    The folder holds ``results/`` (report, profile, reference), ``wandb/``, the model before (``base/``, where it was
    made here) and after (``tuned/``), and ``demo.json``. One that is taken is left alone: the next free ``<out>-2``,
    ``<out>-3``, ... is used.

    Args:
        options: What to run.
        say: Gets each line for people.
        bars: Show progress.

    Raises:
        ValueError, FileNotFoundError, ImportError: For options, tasks or models that do not fit or are not there.
        RuntimeError: When measuring failed.
    """
    begin = time.perf_counter()
    tasks = _tasks(options, say)
    folder = free_folder(Path(options.out))
    clusters = count(len(set(tasks.clusters.values())), "cluster")
    say(f"{count(len(tasks), 'task')} in {clusters} from {options.tasks}; results: {folder}")
    with quiet(), showing(bars):
        model, tokenizer = _model(options, tasks, folder, say)
        template = PromptTemplate(chat=options.chat)
        probes = ProbeSet.from_tasks(
            tasks,
            tokenizer,
            examples_per_task=options.examples_per_task,
            min_examples=MIN_EXAMPLES,
            max_length=settings.MAX_LENGTH,
            template=template,
            seed=options.seed,
        )
        probes.check_model(model)
        for note in probes.notes:
            say(f"note: {note}")
        datamodule = make_data(options, tasks, tokenizer, template)
        from lightning_layerscope.training import add_lora

        before = _score(model, datamodule)
        if options.lora:
            model = add_lora(model, seed=options.seed)
        record, wandb_folder, url = fine_tune(options, model, datamodule, probes, folder)
        after = _score(model, datamodule)
        model.save_pretrained(folder / TUNED)
        tokenizer.save_pretrained(folder / TUNED)
        report = write_report(
            record, folder / RESULTS / "report.html", title=f"Layers of {options.model or 'a small Llama'}"
        )
    result = DemoResult(
        folder,
        report,
        record,
        before,
        after,
        wandb_folder,
        url,
        time.perf_counter() - begin,
    )
    _write_summary(options, result)
    return result


def _tasks(options: DemoOptions, say: Callable[[str], None]) -> TaskCollection:
    """The tasks, with rows held out where the source holds none out itself."""
    load = partial(load_tasks, options.tasks, columns=options.columns or None)
    try:
        tasks = load(splits=["train", "test"])
    except MissingSplitError:
        tasks = load()
    splits = sorted({split for task in tasks.values() for split in task.splits})
    if {"train", "test"} <= set(splits):
        return tasks
    if len(splits) > 1:
        raise ValueError(
            f"the demo trains on the split 'train' and measures on 'test', but {options.tasks} has {splits}"
        )
    say(f"all rows are of the split {splits[0]!r}: up to {options.examples_per_task} of each task are held out")
    return hold_out(tasks, most=options.examples_per_task, seed=options.seed)


def _score(model: Any, datamodule: InstructionDataModule) -> dict[str, TaskScore]:
    from lightning_layerscope.training import score_tasks

    held_out = sum(map(len, datamodule.test_rows().values()))
    with Progress("scoring", held_out) as progress:
        return score_tasks(model, datamodule, progress=lambda done, _: progress.to(done))


def _model(options: DemoOptions, tasks: TaskCollection, folder: Path, say: Callable[[str], None]) -> tuple[Any, Any]:
    if options.model is not None:
        from lightning_layerscope.training import load_model

        model, tokenizer = load_model(options.model)
        say(f"{options.model}: {_millions(model)}M parameters")
        return model.float(), tokenizer
    from lightning_layerscope.training import pretrain, raw_texts, small_llama, train_tokenizer

    tokenizer = train_tokenizer(tasks.texts("train"), vocab_size=VOCABULARY)
    model = small_llama(tokenizer, width=WIDTH, layers=LAYERS, heads=HEADS, seed=options.seed)
    say(f"a Llama of {LAYERS} layers, width {WIDTH}, {_millions(model)}M parameters, new; {len(tokenizer)} tokens")
    with Progress("pre-training", options.pretrain_steps, unit="steps", keep=True) as progress:
        pretrain(
            model,
            tokenizer,
            raw_texts(tasks),
            steps=options.pretrain_steps,
            seed=options.seed,
            progress=lambda step, loss: progress.to(step, f"loss {loss:.2f}"),
        )
    model.save_pretrained(folder / BASE)
    tokenizer.save_pretrained(folder / BASE)
    return model, tokenizer


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
