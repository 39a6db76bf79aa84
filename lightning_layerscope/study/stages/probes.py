"""Stage ``probes:<task>``: the prompts whose states are compared, and the held-out rows that losses are of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.study.engine.stage import Stage
from lightning_layerscope.study.engine.store import Store
from lightning_layerscope.study.plan import Probes, Template
from lightning_layerscope.study.stages.context import StudyContext
from lightning_layerscope.study.stages.readability import flesch_reading_ease
from lightning_layerscope.study.stages.records import read_record, write_record
from lightning_layerscope.study.stages.row_files import digest_rows, load_rows, save_rows
from lightning_layerscope.tasks import Example, PromptTemplate, Task, TaskCollection
from lightning_layerscope.tasks.sampling import sampling_key

_ROWS, _PROBES, _FACTS = "rows.json", "probes.json", "facts.json"
HELD_OUT = "test"
"""The split of the stored rows."""


@dataclass(frozen=True)
class ProbeFacts:
    """A task's counts and covariates.

    Attributes:
        cluster: The cluster of the task.
        test_rows: Prompts that are probed.
        test_available: Held-out rows that there are.
        truncated: Prompts that were cut to the token budget.
        repeated: Prompts that occur more than once.
        prompt_tokens: Mean length of a prompt, in tokens.
        readability: Flesch's reading ease, mean over prompts; None where there are no words.
    """

    cluster: str
    test_rows: int
    test_available: int
    truncated: int
    repeated: int
    prompt_tokens: float
    readability: float | None


@dataclass(frozen=True)
class ProbedTask:
    """What a task is measured with.

    Attributes:
        probes: The prompts.
        rows: The held-out rows that losses are measured on; those of the prompts first, in their order.
        facts: Counts and covariates.
    """

    probes: ProbeSet
    rows: Task
    facts: ProbeFacts


@dataclass(frozen=True, eq=False)
class ProbesStage(Stage[StudyContext, ProbedTask]):
    """A task's probes and held-out rows.

    Attributes:
        task: Name of the task.
        cluster: The cluster of the task.
        digest: Digest of all rows of the split.
        split: Where the rows are chosen from.
        probes: How many, and how they become tokens.
        template: How a row becomes a prompt.
        tokenizer: Digest of the base model, whose tokenizer it is.
    """

    task: str
    cluster: str
    digest: str
    split: str
    probes: Probes
    template: Template
    tokenizer: str
    kind = "probes"

    @classmethod
    def of(cls, task: Task, *, split: str, probes: Probes, template: Template, tokenizer: str) -> ProbesStage:
        """The stage of a task's held-out rows as they are now."""
        digest = digest_rows(task.splits.get(split, ()))
        return cls(task.name, task.cluster, digest, split, probes, template, tokenizer)

    @property
    def name(self) -> str:
        """``probes:<task>``."""
        return f"probes:{self.task}"

    def settings(self) -> Mapping[str, Any]:
        """The rows and how they become prompts."""
        return {
            "rows": self.digest,
            "cluster": self.cluster,
            "template": self.template.model_dump(),
            # The least number of rows decides whether a study runs, not what it gives.
            "probes": self.probes.model_dump(exclude={"min_examples"}),
            "tokenizer": self.tokenizer,
        }

    def run(self, context: StudyContext, folder: Path) -> None:
        """Choose and write probes and rows."""
        task = context.tasks[self.task]
        probes = make_probes(TaskCollection([task]), self.probes, self.template, context.tokenizer, split=self.split)
        by_id = {example.id: example for example in task.split(self.split)}
        probed = [by_id[name] for name in probes[task.name].example_ids]
        ease = [flesch_reading_ease(example.input or example.instruction) for example in probed]
        ease = [value for value in ease if math.isfinite(value)]
        probe = probes[task.name]
        facts = ProbeFacts(
            cluster=task.cluster,
            test_rows=len(probed),
            test_available=len(by_id),
            truncated=probe.truncated,
            repeated=probe.repeated,
            prompt_tokens=probe.num_tokens / len(probe),
            readability=sum(ease) / len(ease) if ease else None,
        )
        rows = self._scored(probed, list(by_id.values()))
        probes.save(folder / _PROBES)
        save_rows(Task(task.name, task.cluster, {HELD_OUT: rows}), folder / _ROWS)
        write_record(facts, folder / _FACTS)

    def _scored(self, probed: list[Example], available: list[Example]) -> tuple[Example, ...]:
        """The rows that losses are measured on."""
        wanted = self.probes.scored_rows
        if wanted is None:
            return tuple(probed)
        known = {example.id for example in probed}
        others = [example for example in available if example.id not in known]
        others.sort(key=lambda example: sampling_key(self.probes.seed, self.task, example.id))
        return tuple((probed + others)[: None if wanted == "all" else wanted])

    def load(self, store: Store) -> ProbedTask:
        """Probes, rows and facts."""
        folder = store.verified(self)
        facts = read_record(ProbeFacts, folder / _FACTS)
        return ProbedTask(ProbeSet.load(folder / _PROBES), load_rows(folder / _ROWS), facts)


def make_probes(tasks: TaskCollection, probes: Probes, template: Template, tokenizer: Any, *, split: str) -> ProbeSet:
    """Probes as a plan asks for them."""
    count = probes.examples_per_task
    return ProbeSet.from_tasks(
        tasks,
        tokenizer,
        examples_per_task=None if count == "all" else count,
        split=split,
        seed=probes.seed,
        max_length=probes.max_length,
        min_examples=probes.min_examples,
        template=prompt_template(template),
        token_choice=probes.token_choice,
    )


def prompt_template(template: Template) -> PromptTemplate:
    """The prompt template, for training and probes alike."""
    return PromptTemplate(**template.model_dump())
