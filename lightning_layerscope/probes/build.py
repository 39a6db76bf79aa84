"""Tasks -> probes."""

from __future__ import annotations

from typing import Any

from lightning_layerscope.probes.answers import probe_answers
from lightning_layerscope.probes.probe import Probe
from lightning_layerscope.probes.prompts import build_prompts, source_digest
from lightning_layerscope.probes.tokens import last_tokens, vocabulary_digest
from lightning_layerscope.tasks.sampling import sampling_key
from lightning_layerscope.tasks.task import Example, TaskCollection
from lightning_layerscope.tasks.template import PromptTemplate


def build_probes(
    tasks: TaskCollection,
    tokenizer: Any,
    *,
    examples_per_task: int | None,
    split: str,
    seed: int,
    max_length: int,
    min_examples: int,
    template: PromptTemplate,
) -> list[Probe]:
    """One probe per task, in the tasks' order; see ``ProbeSet.from_tasks``."""
    limits = {"examples_per_task": examples_per_task, "max_length": max_length, "min_examples": min_examples}
    wrong = {name: value for name, value in limits.items() if value is not None and value < 1}
    if wrong:
        raise ValueError(f"expected 1 or more, got {wrong}")
    _refuse_small(tasks, split, min_examples, examples_per_task)
    probes = []
    for name, task in tasks.items():
        examples = choose(name, task.split(split), examples_per_task, seed)
        try:
            texts, input_ids, truncated = build_prompts(examples, template, tokenizer, max_length)
        except ValueError as error:
            raise ValueError(f"task {name!r}: {error}") from error
        probes.append(
            Probe(
                task=name,
                cluster=task.cluster,
                example_ids=tuple(example.id for example in examples),
                texts=tuple(texts),
                input_ids=tuple(input_ids),
                truncated=truncated,
                available=len(task.split(split)),
                sources=tuple(source_digest(example) for example in examples),
                vocabulary=vocabulary_digest(input_ids, tokenizer),
                last_tokens=last_tokens(input_ids, tokenizer),
                answers=probe_answers(examples, input_ids, tokenizer, template, max_length),
            )
        )
    return probes


def choose(task: str, examples: tuple[Example, ...], count: int | None, seed: int) -> list[Example]:
    """A seeded choice of ``count`` examples, or all, in random order."""
    return sorted(examples, key=lambda example: sampling_key(seed, task, example.id))[:count]


def _refuse_small(tasks: TaskCollection, split: str, min_examples: int, examples_per_task: int | None) -> None:
    # A task that has as many as were asked for is not small.
    needed = min(min_examples, examples_per_task or min_examples)
    counts = {name: len(task.splits.get(split, ())) for name, task in tasks.items()}
    small = [f"{name} ({count})" for name, count in counts.items() if count < needed]
    if small:
        raise ValueError(
            f"{len(small)} of {len(tasks)} tasks have fewer than {needed} examples in the split {split!r}: "
            f"{', '.join(small)}; lower min_examples=, or leave these tasks out"
        )
