"""The order of training examples: shuffled, yet neighbours are about as long as each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

_BATCHES_PER_GROUP = 32


class LengthGroupedSampler(Sampler[int]):
    """Yields indices so that every ``batch_size`` neighbours have similar lengths and little is padded.

    The order is random between groups of batches and sorted by length inside one; then the batches of a group are
    shuffled. It depends on seed and epoch alone: neither the global generators nor a resumed epoch change it.

    Args:
        lengths: Tokens of each example.
        batch_size: Batch size of the loader.
        seed: Seed of the order.
        group: Whether to sort by length at all.

    Example:
        >>> sampler = LengthGroupedSampler([5, 1, 4, 2, 3, 6], batch_size=2, seed=0)
        >>> order = list(sampler)
        >>> sorted(order), order == list(sampler)
        ([0, 1, 2, 3, 4, 5], True)
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, *, seed: int = 0, group: bool = True) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        self.lengths = list(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.group = group
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of each epoch, also of one that is resumed."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed((1_000_003 * self.seed + self.epoch) % 2**63)
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        if not self.group:
            return iter(order)
        size = self.batch_size * _BATCHES_PER_GROUP
        grouped: list[int] = []
        for start in range(0, len(order), size):
            part = sorted(order[start : start + size], key=lambda index: self.lengths[index])
            batches = [part[first : first + self.batch_size] for first in range(0, len(part), self.batch_size)]
            # A short batch stays last: in the middle it would shift all later batches' bounds.
            full = [batch for batch in batches if len(batch) == self.batch_size]
            rest = [index for batch in batches[len(full) :] for index in batch]
            for index in torch.randperm(len(full), generator=generator).tolist():
                grouped.extend(full[index])
            grouped.extend(rest)
        return iter(grouped)
