"""Plan the forward passes: which prompts go together, and which share their beginning."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from lightning_layerscope.probes import ProbeSet

# A cached prefix token costs memory for its keys and values only, about a quarter of a token that goes through the
# layers.
_CACHED_TOKEN = 0.25
# Sharing pays for its extra forward pass only when it saves at least this part of a group's tokens.
_MIN_SAVING = 0.1
# On a CPU a pass of its own costs about as much as so many tokens in a larger one; more padding is not worth it.
_PASS_IN_TOKENS = 32

Row = tuple[int, int]


@dataclass(frozen=True)
class Batch:
    """Prompts that go through the model together.

    Attributes:
        rows: ``(task index, row in the task)`` of each prompt, longest first.
        ids: Token ids of each prompt after the prefix.
        prefix: Token ids that all prompts of the batch begin with and that go through the model beforehand; often
            empty.
    """

    rows: tuple[Row, ...]
    ids: tuple[tuple[int, ...], ...]
    prefix: tuple[int, ...] = ()

    def halves(self) -> tuple[Batch, Batch]:
        """The first and the second half, for when the whole does not fit into memory."""
        middle = (len(self.rows) + 1) // 2
        return (
            Batch(self.rows[:middle], self.ids[:middle], self.prefix),
            Batch(self.rows[middle:], self.ids[middle:], self.prefix),
        )

    def unshared(self) -> Batch:
        """The same prompts, each with the prefix in front."""
        return Batch(self.rows, tuple(self.prefix + ids for ids in self.ids))

    def equal_lengths(self) -> list[Batch]:
        """The prompts in batches that need no padding."""
        lengths = sorted({len(ids) for ids in self.ids}, reverse=True)
        chosen = [[i for i, ids in enumerate(self.ids) if len(ids) == length] for length in lengths]
        return [Batch(tuple(self.rows[i] for i in c), tuple(self.ids[i] for i in c), self.prefix) for c in chosen]

    def parts(self, max_tokens: int, max_padding: float = math.inf) -> list[Batch]:
        """Cut into batches of at most ``max_tokens`` padded tokens; a token of the prefix counts a quarter."""
        parts, start, longest_first = [], 0, [len(ids) for ids in self.ids]
        while start < len(self.rows):
            most = int(max_tokens / (longest_first[start] + _CACHED_TOKEN * len(self.prefix)))
            end = start + rows_of_similar_length(longest_first[start : start + max(1, most)], max_padding)
            parts.append(Batch(self.rows[start:end], self.ids[start:end], self.prefix))
            start = end
        return parts


def plan_batches(
    probes: ProbeSet,
    max_tokens: int,
    *,
    share_prefix: bool = False,
    regime: Callable[[int], Hashable] | None = None,
    max_padding: float = math.inf,
) -> list[Batch]:
    """Sort prompts by length and cut them into batches of at most ``max_tokens`` padded tokens.

    Similar lengths lie together, so little is padded, and the largest batch comes first, so that memory runs out early
    or never. A prompt that is longer than ``max_tokens`` has a batch for itself.

    Args:
        probes: The prompts.
        max_tokens: Upper bound of rows x longest row; a token of a shared prefix counts a quarter.
        share_prefix: Take out what the prompts of a task (or of all tasks, if that saves more) begin with, where it
            pays. Batches with the same prefix follow one another.
        regime: From a prompt's length to what prompts must have in common to go through together; prefixes are shared
            in the regime of the shortest alone.
        max_padding: Tokens of padding in a batch, see :func:`worthwhile_padding`.

    Raises:
        ValueError: When ``max_tokens`` is not positive, or a prompt has no tokens.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens_per_batch must be at least 1, got {max_tokens}.")
    groups: dict[Hashable, dict[int, list[Row]]] = {}  # regime -> task -> prompts
    prompts: dict[Row, tuple[int, ...]] = {}
    for index, (task, probe) in enumerate(probes.items()):
        for row, ids in enumerate(probe.input_ids):
            if not ids:
                raise ValueError(f"Prompt {probe.example_ids[row]!r} of task {task!r} has no tokens; remove it.")
            prompts[index, row] = tuple(ids)
            key = regime(len(ids)) if regime else None
            groups.setdefault(key, {}).setdefault(index, []).append((index, row))
    batches = []
    # Regimes of longer prompts first: the largest batch shows whether memory is enough.
    for key, tasks in sorted(
        groups.items(), key=lambda group: -max(len(prompts[r]) for t in group[1].values() for r in t)
    ):
        everything = [row for rows in tasks.values() for row in rows]
        shared: dict[tuple[int, ...], list[Row]] = {(): everything}
        if share_prefix and (regime is None or key == regime(1)):
            shared = min(_group(list(tasks.values()), prompts), _group([everything], prompts), key=_cost)
        batches += [
            batch for prefix, rows in shared.items() for batch in _cut(rows, prompts, prefix, max_tokens, max_padding)
        ]
    return batches


def worthwhile_padding(device: torch.device) -> float:
    """Tokens of padding from which on another pass costs less; without bound where a pass costs more than its work."""
    return _PASS_IN_TOKENS if device.type == "cpu" else math.inf


def rows_of_similar_length(longest_first: Sequence[int], max_padding: float) -> int:
    """How many rows, at least one, go together without more padding than that."""
    padding = 0
    for count, length in enumerate(longest_first):
        padding += longest_first[0] - length
        if padding > max_padding:
            return count
    return len(longest_first)


def _group(groups: list[list[Row]], prompts: dict[Row, tuple[int, ...]]) -> dict[tuple[int, ...], list[Row]]:
    """Prefix -> prompts; the empty prefix comes first and collects the groups where sharing does not pay."""
    by_prefix: dict[tuple[int, ...], list[Row]] = {(): []}
    for rows in groups:
        ids = [prompts[row] for row in rows]
        length = _common(ids) if len(ids) > 1 else 0
        length = min([length, *(len(i) - 1 for i in ids)]) if ids else 0  # every prompt keeps a token of its own
        pays = length * (len(ids) - 1) >= _MIN_SAVING * sum(map(len, ids))
        by_prefix.setdefault(ids[0][:length] if length and pays else (), []).extend(rows)
    return {prefix: rows for prefix, rows in by_prefix.items() if rows}


def _common(prompts: Sequence[tuple[int, ...]]) -> int:
    """How many leading ids all prompts share (first and last in order differ the most)."""
    low, high = min(prompts), max(prompts)
    return next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))


def _cost(groups: dict[tuple[int, ...], list[Row]]) -> int:
    """Saved tokens, negative: what the prefixes take out of all prompts but one."""
    return -sum(len(prefix) * (len(rows) - 1) for prefix, rows in groups.items())


def _cut(
    rows: Sequence[Row],
    prompts: dict[Row, tuple[int, ...]],
    prefix: tuple[int, ...],
    max_tokens: int,
    max_padding: float,
) -> list[Batch]:
    ordered = sorted(rows, key=lambda row: -len(prompts[row]))
    whole = Batch(tuple(ordered), tuple(prompts[row][len(prefix) :] for row in ordered), prefix)
    return whole.parts(max_tokens, max_padding)
