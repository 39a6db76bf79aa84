"""What can be known to fail is told before anything is trained."""

from __future__ import annotations

import heapq
import shutil
from pathlib import Path
from typing import Any

from lightning_layerscope.compat.known_warnings import without_training_notes
from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.prepare.control_checks import controls_problems
from lightning_layerscope.study.prepare.model_checks import model_problems
from lightning_layerscope.study.stages.context import StudyContext
from lightning_layerscope.study.stages.controls import KeptControls
from lightning_layerscope.study.stages.probes import make_probes, prompt_template
from lightning_layerscope.tasks import TaskCollection
from lightning_layerscope.wording import count

_TRIED = 16
"""Rows of each task and kind; to tokenise all of them would take as long as a stage."""


class StudyError(ValueError):
    """A study that cannot run; the message lists all reasons."""


def check_study(context: StudyContext) -> None:
    """Check tasks, template and models.

    Args:
        context: Has the plan, its tasks, tokenizer and base model.

    Raises:
        StudyError: If something would fail later; all reasons are listed.
    """
    problems = [*_tasks(context.plan, context.tasks), *_template(context.plan, context.tokenizer)]
    if not problems:
        problems += [*_probes(context), *_rows(context)]
    with without_training_notes():
        problems += model_problems(context)
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
                f"task {name!r} has {count(len(rows), 'row')} in the split {test!r}, and {least} are needed; name "
                "another split (tasks.test_split), lower probes.min_examples, or leave the task out (tasks.select)"
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
                    f"task {name!r} has {count(len(silent), 'row')} without an output in the split {split!r}, e.g. "
                    f"{silent[0]!r}; there is no answer to learn or to score"
                )
    return problems


def _template(plan: StudyPlan, tokenizer: Any) -> list[str]:
    problems = []
    has_chats = bool(getattr(tokenizer, "chat_template", None))
    if plan.template.chat and not has_chats:
        problems.append(
            f"the plan asks for a chat template (template.chat), and the tokenizer of {plan.model} has none; "
            "set template.chat to false, or save the tokenizer with a chat_template"
        )
    # Where the rows decide on the form, those that need an end token are found when they are encoded.
    is_text = plan.template.chat is False or not has_chats
    if plan.trains and is_text and tokenizer.eos_token_id is None:
        problems.append(f"the tokenizer of {plan.model} has no end token: a model could never learn to stop")
    return problems


def _probes(context: StudyContext) -> list[str]:
    """Do prompts fit their budget, the model's vocabulary and the controls? Found out on the real rows."""
    plan = context.plan
    try:
        probes = make_probes(context.tasks, plan.probes, plan.template, context.tokenizer, split=plan.tasks.test_split)
        probes.check_model(context.models.base())
        if plan.controls is not None:
            return controls_problems(KeptControls.load(plan.controls), plan, probes)
    except ValueError as error:
        return [str(error)]
    return []


def _rows(context: StudyContext) -> list[str]:
    """Do prompt and answer fit their budget?

    Found out on each task's longest instructions, which cannot be cut, and on those whose answers leave least room.
    """
    from lightning_layerscope.training.encoding import encode_examples

    problems, plan = [], context.plan
    splits = [plan.tasks.test_split, *([plan.tasks.train_split] if plan.trains else [])]
    for name, task in context.tasks.items():
        rows = [example for split in splits for example in task.splits.get(split, ()) if example.output.strip()]
        longest = heapq.nlargest(_TRIED, rows, key=lambda example: (len(example.instruction), len(example.output)))
        longest += heapq.nlargest(_TRIED, rows, key=lambda example: len(example.instruction) + len(example.output))
        try:
            if longest:
                encode_examples(
                    name,
                    longest,
                    context.tokenizer,
                    template=prompt_template(plan.template),
                    max_length=plan.training.max_length,
                )
        except ValueError as error:
            problems.append(f"training.max_length: {error}")
    return problems


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
