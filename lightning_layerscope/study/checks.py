"""What can be known to fail is told before anything is trained."""

from __future__ import annotations

import heapq
import shutil
from pathlib import Path
from typing import Any

from lightning_layerscope._extras import require
from lightning_layerscope.study.controls import Controls
from lightning_layerscope.study.models import is_adapter, model_digest
from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.runner import StudyRunner, known_warnings
from lightning_layerscope.study.stage_data import make_probes, template_of
from lightning_layerscope.tasks import TaskCollection

_TRIED = 16
"""Rows of each task and kind; to tokenise all of them would take as long as a stage."""


class StudyError(ValueError):
    """A study that cannot run; the message lists all reasons."""


def check_study(plan: StudyPlan, runner: StudyRunner) -> None:
    """Check tasks, template and models.

    Args:
        plan: The plan.
        runner: Has tasks, tokenizer and base model.

    Raises:
        StudyError: If something would fail later; all reasons are listed.
    """
    problems = [*_tasks(plan, runner.tasks), *_template(plan, runner.tokenizer)]
    if not problems:
        problems += [*_probes(plan, runner), *_rows(plan, runner)]
    with known_warnings():
        problems += _models(plan, runner)
    if problems:
        raise StudyError("the study cannot run:\n" + "\n".join(f"- {problem}" for problem in problems))


def _tasks(plan: StudyPlan, tasks: TaskCollection) -> list[str]:
    problems = []
    train, test = plan.tasks.train_split, plan.tasks.test_split
    wanted = plan.probes.examples_per_task
    least = plan.probes.min_examples if wanted == "all" else min(plan.probes.min_examples, wanted)
    for name, task in tasks.items():
        rows = task.splits.get(test, ())
        if len(rows) < least:
            problems.append(
                f"task {name!r} has {len(rows)} rows in the split {test!r}, and {least} are needed; name another split "
                "(tasks.test_split), lower probes.min_examples, or leave the task out (tasks.select)"
            )
        if not plan.trains:
            continue
        known = task.splits.get(train, ())
        unused = plan.controls is not None and task.cluster in plan.held_out
        if not known and not unused:
            problems.append(f"task {name!r} has no rows in the split {train!r} to train on")
        for split, examples in ((train, known), (test, rows)):
            silent = [example.id for example in examples if not example.output.strip()]
            if silent:
                problems.append(
                    f"task {name!r} has {len(silent)} rows without an output in the split {split!r}, e.g. "
                    f"{silent[0]!r}; there is no answer to learn or to score"
                )
    return problems


def _template(plan: StudyPlan, tokenizer: Any) -> list[str]:
    problems = []
    if plan.template.chat and not getattr(tokenizer, "chat_template", None):
        problems.append(
            f"the plan asks for a chat template (template.chat), and the tokenizer of {plan.model} has none; "
            "set template.chat to false, or save the tokenizer with a chat_template"
        )
    if plan.trains and not plan.template.chat and tokenizer.eos_token_id is None:
        problems.append(f"the tokenizer of {plan.model} has no end token: a model could never learn to stop")
    return problems


def _probes(plan: StudyPlan, runner: StudyRunner) -> list[str]:
    """Do prompts fit their budget, the model's vocabulary and the controls? Found out on the real rows."""
    try:
        probes = make_probes(runner.tasks, plan, runner.tokenizer)
        probes.check_model(runner.room.base())
        if plan.controls is not None:
            return Controls.load(plan.controls).problems(plan, probes)
    except ValueError as error:
        return [str(error)]
    return []


def _rows(plan: StudyPlan, runner: StudyRunner) -> list[str]:
    """Do prompt and answer fit their budget?

    Found out on each task's longest instructions, which cannot be cut, and on those whose answers leave least room.
    """
    from lightning_layerscope.training.encoding import encode_examples

    problems = []
    splits = [plan.tasks.test_split, *([plan.tasks.train_split] if plan.trains else [])]
    for name, task in runner.tasks.items():
        rows = [example for split in splits for example in task.splits.get(split, ()) if example.output.strip()]
        longest = heapq.nlargest(_TRIED, rows, key=lambda example: (len(example.instruction), len(example.output)))
        longest += heapq.nlargest(_TRIED, rows, key=lambda example: len(example.instruction) + len(example.output))
        try:
            if longest:
                encode_examples(
                    name,
                    longest,
                    runner.tokenizer,
                    template=template_of(plan),
                    max_length=plan.training.max_length,
                )
        except ValueError as error:
            problems.append(f"training.max_length: {error}")
    return problems


def _models(plan: StudyPlan, runner: StudyRunner) -> list[str]:
    if plan.tuned is not None:
        if foreign := _foreign_base(plan, runner):
            return [foreign]
        try:
            with runner.room.tuned(plan.tuned) as tuned:
                layers = tuned.config.num_hidden_layers
            base = runner.room.base().config.num_hidden_layers
        except (ValueError, OSError) as error:
            return [str(error)]
        if layers != base:
            return [f"the tuned model has {layers} layers and the base model {base}; compare models of one depth"]
        return []
    if plan.training.method == "lora":
        names = {name.rsplit(".", 1)[-1] for name, _ in runner.room.base().named_modules()}
        missing = [name for name in plan.training.target_modules if name not in names]
        if missing:
            return [f"training.target_modules names modules that {plan.model} does not have: {missing}"]
    return []


def _foreign_base(plan: StudyPlan, runner: StudyRunner) -> str:
    """An adapter fits any model of its base's shape: does it name this one? Moved folders are told by content."""
    assert plan.tuned is not None
    if not is_adapter(plan.tuned):
        return ""
    config = require("peft", extra="study").PeftConfig.from_pretrained(plan.tuned)
    named = str(config.base_model_name_or_path or "")
    if not named or named == plan.model:
        return ""
    places = [Path(name).is_dir() for name in (named, plan.model)]
    if places == [False, True]:
        return ""  # the base may have been moved or downloaded here; loading shows whether its shapes fit
    cache = Path(plan.output_dir or plan.name) / "digests.json"
    try:
        same = model_digest(named, cache) == model_digest(plan.model, cache)
    except FileNotFoundError:
        same = False
    if same:
        return ""
    return (
        f"the adapter {plan.tuned} was made for the base model {named!r}, and the plan's model is {plan.model!r}; "
        "give the one as 'model', or another adapter as 'tuned'"
    )


def check_disk(plan: StudyPlan, needed: int) -> None:
    """Raise :class:`StudyError` when the study's disk has less than the needed bytes free."""
    folder = Path(plan.output_dir or plan.name).resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StudyError(
            f"the study writes about {needed / 1e9:.2f} GB, and {folder} has {free / 1e9:.2f} GB free; make room, or "
            "set output_dir to another disk"
        )
