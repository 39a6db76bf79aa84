"""One meta for several profiles: further steps, further measures, further tasks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from lightning_layerscope.profiles.meta import ProfileMeta

_DIGESTS = ("examples_digest", "tokens_digest", "reference_digest")

_ALIKE = ("num_layers", "layers", "reference")
"""What profiles of any tasks must share; those of the same tasks share their digests and clusters too."""


def merge_meta(metas: Sequence[ProfileMeta]) -> ProfileMeta:
    """One meta for profiles that are parts of one: the first one's, with the tasks, warnings and notes of all.

    Profiles are either of the same tasks or have none in common. Where digests of different tasks differ, because each
    task has probes or a reference of its own, the digest of all is one over theirs; ``""`` where one is unknown.

    Args:
        metas: The meta of each profile, at least one.

    Raises:
        ValueError: If they differ in what they were measured on or against, or share some tasks and not all; the
            message says where.
    """
    first = metas[0]
    groups: dict[tuple[str, ...], ProfileMeta] = {}
    for position, meta in enumerate(metas):
        _check_alike(meta, first, position, _ALIKE)
        same = groups.setdefault(meta.tasks, meta)
        _check_alike(meta, same, position, (*_DIGESTS, "clusters"))
    tasks = tuple(task for group in groups for task in group)
    twice = sorted({task for task in tasks if tasks.count(task) > 1})
    if twice:
        raise ValueError(
            f"expected profiles of the same tasks or of tasks that none shares, got {twice[:5]} among different ones: "
            f"tasks={[list(group) for group in groups]}; use `diff` to compare runs"
        )
    return replace(
        first,
        tasks=tasks,
        clusters={task: cluster for meta in groups.values() for task, cluster in meta.clusters.items()},
        examples={task: number for meta in groups.values() for task, number in meta.examples.items()},
        warnings=tuple(dict.fromkeys(line for meta in metas for line in meta.warnings)),
        notes=tuple(dict.fromkeys(line for meta in metas for line in meta.notes)),
        examples_digest=_digest_of([meta.examples_digest for meta in groups.values()]),
        tokens_digest=_digest_of([meta.tokens_digest for meta in groups.values()]),
        reference_digest=_digest_of([meta.reference_digest for meta in groups.values()]),
    )


def _check_alike(meta: ProfileMeta, other: ProfileMeta, position: int, keys: Sequence[str]) -> None:
    for key in keys:
        here, earlier = getattr(meta, key), getattr(other, key)
        if here != earlier:
            raise ValueError(
                f"expected profiles of one run, got profile {position} with {key}={here!r} "
                f"where an earlier one has {earlier!r}; use `diff` to compare runs"
            )


def _digest_of(digests: Sequence[str]) -> str:
    if len(set(digests)) == 1:
        return digests[0]
    return hashlib.sha256("\0".join(digests).encode()).hexdigest() if all(digests) else ""
