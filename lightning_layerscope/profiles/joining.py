"""One meta for several profiles: further steps, further measures, further tasks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_layerscope.profiles.schema import LISTS

_DIGESTS = ("examples_digest", "tokens_digest", "reference_digest")

_ALIKE = ("num_layers", "layers", "reference")
"""What profiles of any tasks must share; those of the same tasks share their digests and clusters too."""


def merge_meta(metas: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One meta for profiles that are parts of one: the first one's, with the tasks, warnings and notes of all.

    Profiles are either of the same tasks or have none in common. Where digests of different tasks differ, because each
    task has probes or a reference of its own, the digest of all is one over theirs; ``""`` where one is unknown.

    Args:
        metas: Of the profiles, at least one.

    Raises:
        ValueError: If they differ in what they were measured on or against, or share some tasks and not all; the
            message says where.
    """
    first = metas[0]
    groups: dict[tuple[str, ...], Mapping[str, Any]] = {}
    for position, meta in enumerate(metas):
        _check_alike(meta, first, position, _ALIKE)
        same = groups.setdefault(tuple(meta["tasks"]), meta)
        _check_alike(meta, same, position, (*_DIGESTS, "clusters"))
    tasks = [task for group in groups for task in group]
    twice = sorted({task for task in tasks if tasks.count(task) > 1})
    if twice:
        raise ValueError(
            f"expected profiles of the same tasks or of tasks that none shares, got {twice[:5]} among different ones: "
            f"tasks={[list(group) for group in groups]}; use `diff` to compare runs"
        )
    merged = {**first, "tasks": tasks}
    for key in ("clusters", "examples"):
        known = [meta[key] for meta in groups.values() if key in meta]
        if known:
            merged[key] = {task: value for each in known for task, value in each.items()}
    for key in _DIGESTS:
        merged[key] = _digest_of([str(meta[key]) for meta in groups.values()])
    for key in LISTS:
        merged[key] = list(dict.fromkeys(line for meta in metas for line in meta[key]))
    return merged


def _check_alike(meta: Mapping[str, Any], other: Mapping[str, Any], position: int, keys: Sequence[str]) -> None:
    for key in keys:
        if meta[key] != other[key]:
            raise ValueError(
                f"expected profiles of one run, got profile {position} with {key}={meta[key]!r} "
                f"where an earlier one has {other[key]!r}; use `diff` to compare runs"
            )


def _digest_of(digests: Sequence[str]) -> str:
    if len(set(digests)) == 1:
        return digests[0]
    return hashlib.sha256("\0".join(digests).encode()).hexdigest() if all(digests) else ""
