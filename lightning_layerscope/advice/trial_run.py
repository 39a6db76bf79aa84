"""The trainings of a trial, each made once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning_layerscope.advice.evidence import Evidence
from lightning_layerscope.advice.lora_ranks import equal_ranks, parameters
from lightning_layerscope.advice.rules import select
from lightning_layerscope.advice.selection import Selection
from lightning_layerscope.advice.short_training import trained_adapter
from lightning_layerscope.advice.targets import Targets
from lightning_layerscope.advice.trial_file import BASE, TrialLine, append_line, read_lines
from lightning_layerscope.advice.trial_recipe import TrialRecipe
from lightning_layerscope.tasks import TaskCollection
from lightning_layerscope.training.encoding import EncodedExample, encode_examples
from lightning_layerscope.training.evaluation import score_rows

Rows = Mapping[str, Sequence[EncodedExample]]


@dataclass(frozen=True)
class TrialSetting:
    """What all trainings of a trial share.

    Attributes:
        model: The base model, without adapters.
        tokenizer: The tokenizer of the model.
        tasks: With the splits ``"train"`` and ``"test"``.
        targets: The matrices that may get adapters.
        recipe: How to train.
        evidence: What the selectors look at.
        test_rows: Held-out rows of each task.
        retention_rows: Rows of each skill that must not be lost.
    """

    model: Any
    tokenizer: Any
    tasks: TaskCollection
    targets: Targets
    recipe: TrialRecipe
    evidence: Evidence
    test_rows: Rows
    retention_rows: Rows

    @property
    def budget(self) -> int:
        """Trainable parameters of every training."""
        return self.targets.budget(self.recipe.budget_layers, self.recipe.rank)

    def selection(self, name: str, seed: int) -> Selection:
        """What one rule says in the training of one seed."""
        return select(name, self.evidence, self.targets, self.recipe, seed=seed)

    def ranks(self, name: str, seed: int) -> dict[str, int]:
        """Ranks of the adapters of that training, by the full name of each matrix."""
        return equal_ranks(self.targets, self.selection(name, seed), self.budget)


def held_out_rows(tasks: TaskCollection, tokenizer: Any, count: int, max_length: int, split: str = "test") -> Rows:
    """The first so many rows of each task, which JSONL and the toy tasks hold in arbitrary order; encoded."""
    return {
        name: encode_examples(name, task.split(split)[:count], tokenizer, max_length=max_length)
        for name, task in tasks.items()
    }


def run_trial(
    setting: TrialSetting,
    names: Sequence[str],
    seeds: Sequence[int],
    path: str | Path,
    *,
    shard: tuple[int, int] = (0, 1),
    inspect: Callable[[TrialLine, Any], None] | None = None,
) -> Iterator[TrialLine]:
    """Make the trainings that the file does not hold yet, all selectors of a seed before the next seed.

    Two selectors that name the same matrices at the same ranks ask, with one seed, for the same training: it is made
    once, and its line written for both.

    Args:
        setting: What the trainings share.
        names: Selectors.
        seeds: Each trains every selector once.
        path: File of lines.
        shard: ``(i, n)``: this process makes every n-th training, from the i-th on.
        inspect: Called with each training's line and its adapted model, before the line is written.

    Yields:
        The new lines as they are finished; the base model's own losses are written first, by the first process.
    """
    if shard[0] == 0 and (BASE, 0) not in read_lines(path):
        append_line(path, base_line(setting))
    planned = [(name, seed) for seed in seeds for name in names][shard[0] :: shard[1]]
    for name, seed in planned:
        known = read_lines(path)
        if (name, seed) not in known:
            line = _twin(setting, name, seed, known) or train_line(setting, name, seed, inspect)
            append_line(path, line)
            yield line


def _twin(setting: TrialSetting, name: str, seed: int, known: Mapping[tuple[str, int], TrialLine]) -> TrialLine | None:
    """The line of another selector's training that is this one's too, under this one's name."""
    ranks = setting.ranks(name, seed)
    for line in known.values():
        if line.seed == seed and line.selector != BASE and setting.ranks(line.selector, seed) == ranks:
            return replace(line, selector=name)
    return None


def train_line(
    setting: TrialSetting, name: str, seed: int, inspect: Callable[[TrialLine, Any], None] | None = None
) -> TrialLine:
    """Make one training and score it; see ``run_trial``."""
    selection = setting.selection(name, seed)
    ranks = setting.ranks(name, seed)
    with trained_adapter(
        setting.model, setting.tokenizer, setting.tasks, setting.targets, ranks, setting.recipe, seed
    ) as tuned:
        loss, retention = _scores(setting, tuned)
        line = TrialLine(
            selector=name,
            seed=seed,
            layers=selection.layers,
            ranks={str(rank): count for rank, count in sorted(Counter(ranks.values()).items())},
            parameters=parameters(setting.targets, ranks),
            loss=loss,
            retention=retention,
        )
        if inspect is not None:
            inspect(line, tuned)
    return line


def base_line(setting: TrialSetting) -> TrialLine:
    """The base model's own losses."""
    loss, retention = _scores(setting, setting.model)
    return TrialLine(BASE, 0, (), {}, 0, loss, retention)


def _scores(setting: TrialSetting, model: Any) -> tuple[dict[str, float], dict[str, float]]:
    """Loss of each task and of each skill that must not be lost."""
    loss, retention = (
        {task: score.loss for task, score in score_rows(model, rows).items()}
        for rows in (setting.test_rows, setting.retention_rows)
    )
    return loss, retention
