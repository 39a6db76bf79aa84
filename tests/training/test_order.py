import random

import pytest

from lightning_layerscope.training import InstructionDataModule
from lightning_layerscope.training.sampler import LengthGroupedSampler


def padded(lengths, order, size):
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    return sum(len(batch) * max(lengths[index] for index in batch) for batch in batches) / sum(lengths)


def test_grouping_saves_padding_and_sees_every_row_once():
    lengths = [random.Random(0).randint(5, 100) if index % 3 else 10 for index in range(1001)]
    grouped, plain = (LengthGroupedSampler(lengths, 8, seed=1, group=group) for group in (True, False))
    assert sorted(grouped) == sorted(plain) == list(range(1001))
    random.Random(0).shuffle(lengths)
    assert padded(lengths, list(LengthGroupedSampler(lengths, 8)), 8) < 1.05
    assert padded(lengths, list(plain), 8) > 1.3


def test_the_order_changes_with_epoch_and_seed_alone():
    sampler = LengthGroupedSampler(range(100), 4, seed=3)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert first != second
    again = LengthGroupedSampler(range(100), 4, seed=3)
    again.set_epoch(1)
    assert list(again) == second
    assert list(LengthGroupedSampler(range(100), 4, seed=4)) != first
    # Batches are not sorted among each other: the model must not see all short rows first.
    starts = first[::4]
    assert starts != sorted(starts)


def test_a_group_of_batches_is_similar_in_length():
    order = list(LengthGroupedSampler([index % 10 for index in range(320)], 10, seed=0))
    spans = [max(part) - min(part) for part in ([index % 10 for index in order[s : s + 10]] for s in range(0, 320, 10))]
    assert max(spans) <= 1


def test_limits_choose_by_seed_and_spread_over_a_cluster(tasks, tokenizer):
    def ids(**options):
        return {row.id for row in InstructionDataModule(tasks, tokenizer, **options).train_rows()}

    few, more = ids(max_examples_per_task=5), ids(max_examples_per_task=10)
    assert len(few) == 20
    assert few < more
    assert ids(max_examples_per_task=5, seed=1) != few
    both = tasks.with_clusters({"last_word": "one", "parity": "one"})
    data = InstructionDataModule(both, tokenizer, max_examples_per_cluster=10)
    counts = {}
    for row in data.train_rows():
        cluster = both[row.task].cluster
        counts[cluster] = counts.get(cluster, 0) + 1
    assert set(counts.values()) == {10}
    assert len({row.task for row in data.train_rows()}) == 4


def test_the_module_names_its_loaders_and_offers_probes(tasks, tokenizer):
    data = InstructionDataModule(tasks, tokenizer, max_test_examples=3, max_length=32)
    assert data.probe_tasks() is tasks
    assert list(data.val_dataloader()) == list(tasks)
    assert {len(rows) for rows in data.test_rows().values()} == {3}
    assert set(data.cut()) <= set(tasks)
    with pytest.raises(ValueError, match=r"expected 1 or more, got \{'batch_size': 0\}"):
        InstructionDataModule(tasks, tokenizer, batch_size=0)
    with pytest.raises(ValueError, match="no split 'dev'"):
        InstructionDataModule(tasks, tokenizer, train_split="dev").train_rows()
