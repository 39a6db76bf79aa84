"""Prompts of one task that are near copies of each other.

Copies count as independent examples, so that a similarity looks surer than it is, and larger: with 16 templates of 4
near copies each, nominal 90 % intervals of CKA cover half the time at best, and mostly never. Grouped, copies count
once and the intervals hold.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from lightning_layerscope.probes.probe import Probe
from lightning_layerscope.wording import count

SIMILAR = 0.8
"""Prompts are copies that share this part of their tokens (Jaccard), those apart that most prompts of the task have."""

COMMON = 0.5
"""Tokens in more than this part of a task's prompts belong to its instruction and say nothing of likeness."""

_SHOWN_IDS, _SHOWN_TASKS = 3, 5

FEW_TOKENS = 4
"""Prompts with fewer tokens of their own differ in too little to tell copies from examples, and are not compared."""


def near_duplicates(input_ids: Sequence[Sequence[int]]) -> list[list[int]]:
    """Groups of prompts that are near copies of each other, directly or through others.

    Two sets of tokens that are alike must share one of their rarest, so only prompts that do are compared: the time
    grows with the number of prompts, not with its square, unless they are copies.

    Args:
        input_ids: The tokens of each prompt of one task.

    Returns:
        Positions, in order; groups of two or more, in the order of their first.

    Examples:
        >>> near_duplicates([[1, 2, 3, 4, 5], [7, 8, 9, 10, 11], [1, 2, 3, 4, 5, 6], [12, 13, 14, 15]])
        [[0, 2]]
    """
    every = [frozenset(ids) for ids in input_ids]
    occurrences = Counter(token for tokens in every for token in tokens)
    common = {token for token, number in occurrences.items() if len(every) > 2 and number > COMMON * len(every)}
    own = [tokens - common if len(tokens - common) >= FEW_TOKENS else frozenset() for tokens in every]
    group = list(range(len(own)))
    rare: dict[int, list[int]] = {}
    for position, tokens in enumerate(own):
        ordered = sorted(tokens, key=lambda token: (occurrences[token], token))
        prefix = ordered[: len(ordered) - math.ceil(SIMILAR * len(ordered)) + 1]
        for other in sorted({other for token in prefix for other in rare.get(token, ())}):
            if _root(group, other) != _root(group, position) and _alike(tokens, own[other]):
                group[_root(group, position)] = _root(group, other)
        for token in prefix:
            rare.setdefault(token, []).append(position)
    members: dict[int, list[int]] = {}
    for position in range(len(own)):
        members.setdefault(_root(group, position), []).append(position)
    return sorted(positions for positions in members.values() if len(positions) > 1)


def copy_groups(probes: Mapping[str, Probe]) -> dict[str, tuple[int, ...]]:
    """Task to the group of each of its prompts, near copies together; tasks without near copies are left out."""
    labels = {}
    for task, probe in probes.items():
        label = list(range(len(probe)))
        for group in near_duplicates(probe.input_ids):
            for position in group:
                label[position] = group[0]
        if len(set(label)) < len(probe):
            labels[task] = tuple(label)
    return labels


def copies_in_words(probes: Iterable[Probe]) -> list[str]:
    """One sentence that names the tasks with near copies, the first copies of each by their ids; none without any."""
    named = []
    for probe in probes:
        groups = near_duplicates(probe.input_ids)
        if groups:
            spare = sum(len(group) - 1 for group in groups)
            first = ", ".join(probe.example_ids[position] for position in groups[0][:_SHOWN_IDS])
            named.append(f"{probe.task} {spare} of {len(probe)} ({first}{', ...' if spare >= _SHOWN_IDS else ''})")
    if not named:
        return []
    shown = "; ".join(named[:_SHOWN_TASKS]) + ("; ..." if len(named) > _SHOWN_TASKS else "")
    return [
        f"prompts of {count(len(named), 'task')} are near copies of another one of their task, which makes "
        f'similarity look larger and surer than it is (near_copies="group" counts them once): {shown}'
    ]


def _root(group: list[int], position: int) -> int:
    while group[position] != position:
        group[position] = group[group[position]]
        position = group[position]
    return position


def _alike(one: frozenset[int], two: frozenset[int]) -> bool:
    shared = len(one & two)
    return shared >= SIMILAR * (len(one) + len(two) - shared)
