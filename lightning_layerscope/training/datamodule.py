"""The tasks as training data: encoded, chosen by seed, batched by length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from lightning_layerscope.tasks import Example, PromptTemplate, TaskCollection
from lightning_layerscope.tasks.sampling import sampling_key
from lightning_layerscope.training.encoding import EncodedExample, collate, encode_examples
from lightning_layerscope.training.sampler import LengthGroupedSampler

if TYPE_CHECKING:

    class LightningDataModule:
        """Stands for Lightning's, which has no types here."""
else:
    from pytorch_lightning import LightningDataModule


class InstructionDataModule(LightningDataModule):
    """Train and held-out rows of all tasks, for ``pytorch_lightning.Trainer``.

    Offers ``tokenizer`` and ``probe_tasks()``, so that a monitor can be given ``probes="datamodule"``, and one named
    validation loader per task, which is what its passive mode reads.

    Args:
        tasks: The tasks.
        tokenizer: A tokenizer of transformers.
        template: How an example becomes a prompt; default ``PromptTemplate()``. Use the same for the probes.
        batch_size: Rows per training batch.
        max_length: Tokens of prompt and answer together; see ``encode_examples``.
        train_split: Name of the split trained on.
        test_split: Name of the held-out split.
        max_examples_per_task: Train on at most so many of each task, chosen by seed.
        max_examples_per_cluster: Train on at most so many of each cluster, chosen by seed.
        max_test_examples: Hold out at most so many of each task, chosen by seed.
        group_by_length: Put rows of similar length into a batch.
        seed: Seed of the choice and of the order.
        num_workers: Number of workers of the loaders.

    Raises:
        ValueError: For counts below 1, or tasks without the splits.
    """

    def __init__(
        self,
        tasks: TaskCollection,
        tokenizer: Any,
        *,
        template: PromptTemplate | None = None,
        batch_size: int = 4,
        max_length: int = 512,
        train_split: str = "train",
        test_split: str = "test",
        max_examples_per_task: int | None = None,
        max_examples_per_cluster: int | None = None,
        max_test_examples: int | None = None,
        group_by_length: bool = True,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        limits = {
            "batch_size": batch_size,
            "max_examples_per_task": max_examples_per_task,
            "max_examples_per_cluster": max_examples_per_cluster,
            "max_test_examples": max_test_examples,
        }
        wrong = {name: value for name, value in limits.items() if value is not None and value < 1}
        if wrong:
            raise ValueError(f"expected 1 or more, got {wrong}")
        self.tasks = tasks
        self.tokenizer = tokenizer
        self.template = template or PromptTemplate()
        self.batch_size = batch_size
        self.max_length = max_length
        self.train_split = train_split
        self.test_split = test_split
        self.max_examples_per_task = max_examples_per_task
        self.max_examples_per_cluster = max_examples_per_cluster
        self.max_test_examples = max_test_examples
        self.group_by_length = group_by_length
        self.seed = seed
        self.num_workers = num_workers
        self._train: list[EncodedExample] | None = None
        self._test: dict[str, list[EncodedExample]] | None = None

    def probe_tasks(self) -> TaskCollection:
        """What a monitor probes."""
        return self.tasks

    def train_rows(self) -> list[EncodedExample]:
        """The training rows, encoded when first asked for."""
        if self._train is None:
            chosen = {
                name: self._choose(name, task.split(self.train_split), self.max_examples_per_task)
                for name, task in self.tasks.items()
            }
            if self.max_examples_per_cluster is not None:
                chosen = self._limit_clusters(chosen, self.max_examples_per_cluster)
            self._train = [row for name, examples in chosen.items() for row in self._encode(name, examples)]
        return self._train

    def test_rows(self) -> Mapping[str, Sequence[EncodedExample]]:
        """The held-out rows of each task, encoded when first asked for."""
        if self._test is None:
            self._test = {
                name: self._encode(name, self._choose(name, task.split(self.test_split), self.max_test_examples))
                for name, task in self.tasks.items()
            }
        return self._test

    def cut(self) -> dict[str, int]:
        """Task to the number of training rows that were cut to ``max_length``; tasks without any are left out."""
        return dict(Counter(row.task for row in self.train_rows() if row.cut_prompt or row.cut_answer))

    def setup(self, stage: str = "fit") -> None:
        """Encode what the stage needs."""
        if stage == "fit":
            self.train_rows()

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled batches; the order depends on seed and epoch alone."""
        rows = self.train_rows()
        sampler = LengthGroupedSampler(
            [len(row) for row in rows], self.batch_size, seed=self.seed, group=self.group_by_length
        )
        return self._loader(rows, sampler=sampler)

    def val_dataloader(self) -> dict[str, DataLoader[Any]]:
        """One loader per task, named after it."""
        return {task: self._loader(rows) for task, rows in self.test_rows().items()}

    def _loader(self, rows: Sequence[EncodedExample], **options: Any) -> DataLoader[Any]:
        return DataLoader(
            rows,  # type: ignore[arg-type]
            batch_size=self.batch_size,
            collate_fn=collate,
            num_workers=self.num_workers,
            # Its own: an iterator of a loader without one draws from the global generator.
            generator=torch.Generator().manual_seed(self.seed),
            **options,
        )

    def _encode(self, task: str, examples: Sequence[Example]) -> list[EncodedExample]:
        return encode_examples(task, examples, self.tokenizer, template=self.template, max_length=self.max_length)

    def _choose(self, task: str, examples: Sequence[Example], count: int | None) -> list[Example]:
        if count is None or count >= len(examples):
            return list(examples)
        return sorted(examples, key=lambda example: sampling_key(self.seed, task, example.id))[:count]

    def _limit_clusters(self, chosen: dict[str, list[Example]], most: int) -> dict[str, list[Example]]:
        """The same share of each of a cluster's tasks: those of the lowest keys in the whole cluster."""
        ranks: dict[str, list[int]] = {}
        for name, examples in chosen.items():
            cluster = self.tasks[name].cluster
            ranks.setdefault(cluster, []).extend(sampling_key(self.seed, name, example.id) for example in examples)
        bounds = {cluster: sorted(values)[most - 1] for cluster, values in ranks.items() if len(values) > most}
        return {
            name: [
                example
                for example in examples
                if sampling_key(self.seed, name, example.id) <= bounds.get(self.tasks[name].cluster, 2**128)
            ]
            for name, examples in chosen.items()
        }
