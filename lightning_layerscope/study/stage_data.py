"""Stage ``data:<task>``: the rows to train on, the held-out rows, and the probes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.study.covariates import flesch_reading_ease
from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.rows import FACTS, PROBES, ROWS, save_rows
from lightning_layerscope.tasks import PromptTemplate, Task, TaskCollection
from lightning_layerscope.tasks.sampling import sampling_key


def prepare_data(folder: Path, task: Task, plan: StudyPlan, tokenizer: Any, *, train_examples: int) -> None:
    """Choose and write a task's rows and probes.

    Multi-task model and control are trained on the rows chosen here, so they see the same examples. The held-out rows,
    on which losses are measured, are those of the probes, in their order.

    Args:
        folder: Where to; gets ``rows.json``, ``probes.json`` and ``facts.json``.
        task: The task, all rows.
        plan: The study's plan.
        tokenizer: Of the base model.
        train_examples: At most so many training rows.
    """
    seed = plan.training.seed
    known = task.splits.get(plan.tasks.train_split, ())
    train = sorted(known, key=lambda example: sampling_key(seed, task.name, example.id))[:train_examples]
    probes = make_probes(TaskCollection([task]), plan, tokenizer)
    probes.save(folder / PROBES)
    by_id = {example.id: example for example in task.split(plan.tasks.test_split)}
    test = [by_id[name] for name in probes[task.name].example_ids]
    save_rows(Task(task.name, task.cluster, {"train": tuple(train), "test": tuple(test)}), folder / ROWS)
    ease = [flesch_reading_ease(example.input or example.instruction) for example in test]
    ease = [value for value in ease if math.isfinite(value)]
    probe = probes[task.name]
    facts = {
        "cluster": task.cluster,
        "train_rows": len(train),
        "train_available": len(known),
        "test_rows": len(test),
        "test_available": len(by_id),
        "truncated": probe.truncated,
        "repeated": probe.repeated,
        "prompt_tokens": probe.num_tokens / len(probe),
        "readability": sum(ease) / len(ease) if ease else None,
    }
    (folder / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def make_probes(tasks: TaskCollection, plan: StudyPlan, tokenizer: Any) -> ProbeSet:
    """Probes as the plan asks for them."""
    count = plan.probes.examples_per_task
    return ProbeSet.from_tasks(
        tasks,
        tokenizer,
        examples_per_task=None if count == "all" else count,
        split=plan.tasks.test_split,
        seed=plan.probes.seed,
        max_length=plan.probes.max_length,
        min_examples=plan.probes.min_examples,
        template=template_of(plan),
        token_choice=plan.probes.token_choice,
    )


def template_of(plan: StudyPlan) -> PromptTemplate:
    """The prompt template, for training and probes alike."""
    return PromptTemplate(**plan.template.model_dump())
