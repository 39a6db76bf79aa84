"""One measurement by several ranks: each compares its tasks, rank 0 puts the parts together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_layerscope.functional.task_similarity import mean_noise
from lightning_layerscope.measurements import Measurement
from lightning_layerscope.measurements.assembly import assemble
from lightning_layerscope.measurements.take import compare_with_layers
from lightning_layerscope.profiles import LayerProfile
from lightning_layerscope.references import ReferenceBank
from lightning_layerscope.transitions import find_transitions

if TYPE_CHECKING:
    from lightning_layerscope.extraction import HiddenStates
    from lightning_layerscope.monitor.ranks import Ranks
    from lightning_layerscope.probes import ProbeSet


@dataclass(frozen=True)
class Share:
    """What one rank measured: rows and small matrices, never the hidden states.

    Attributes:
        profile: The profile of its tasks.
        layer_matrices: Per task ``(layers, layers)``.
        means: Per task ``(layers, width)`` float32, for the similarity of tasks.
        noise: Per task ``(layers,)``, the squared standard error of its means.
    """

    profile: LayerProfile
    layer_matrices: dict[str, NDArray[np.float64]]
    means: dict[str, Tensor]
    noise: dict[str, Tensor]


def share_out(probes: ProbeSet, ranks: int) -> list[list[str]]:
    """Tasks of each rank, about equal in tokens; the same on every rank.

    A task stays whole: its similarity needs all of its examples. With fewer tasks than ranks some have none.
    """
    loads, shares = [0] * ranks, [[] for _ in range(ranks)]  # type: tuple[list[int], list[list[str]]]
    for task in sorted(probes, key=lambda name: (-probes[name].num_tokens, name)):
        lightest = loads.index(min(loads))
        loads[lightest] += probes[task].num_tokens
        shares[lightest].append(task)
    order = list(probes)
    return [sorted(share, key=order.index) for share in shares]


def own_share(probes: ProbeSet, ranks: Ranks) -> ProbeSet | None:
    """The tasks of this rank; None where it has none."""
    if ranks.world == 1:
        return probes
    tasks = share_out(probes, ranks.world)[ranks.rank]
    return probes.select(tasks) if tasks else None


def with_digests(states: HiddenStates, probes: ProbeSet) -> HiddenStates:
    """States of some tasks under the digests of the whole probe set, which its reference carries."""
    return replace(states, examples_digest=probes.examples_digest, tokens_digest=probes.tokens_digest)


def compare_share(states: HiddenStates, bank: ReferenceBank, *, step: int, **options: Any) -> Share:
    """Compare one rank's tasks with its part of the reference.

    Args:
        states: The states of the rank's tasks.
        bank: The reference of the same tasks.
        step: Step of training.
        options: The options of :func:`~lightning_layerscope.compare`.
    """
    profile, matrices = compare_with_layers(states, bank, step=step, **options)
    means = {task: states[task].float().mean(dim=1).cpu() for task in states}
    noise = {task: mean_noise(states[task]).cpu() for task in states}
    return Share(profile, matrices, means, noise)


def merge_shares(shares: Sequence[Share], tasks: Sequence[str], *, reference_digest: str) -> Measurement:
    """Put the ranks' parts together: the measurement that one process would have taken.

    Args:
        shares: The shares of the ranks that had tasks.
        tasks: All tasks, in the order of the probe set.
        reference_digest: Digest of the whole reference.

    Raises:
        ValueError: When a task is missing.
    """
    matrices = {task: matrix for share in shares for task, matrix in share.layer_matrices.items()}
    means = {task: mean for share in shares for task, mean in share.means.items()}
    noise = {task: each for share in shares for task, each in share.noise.items()}
    missing = [task for task in tasks if task not in means]
    if missing:
        raise ValueError(f"the ranks together gave no states of the tasks {missing[:5]}")
    joined = LayerProfile.concat(share.profile for share in shares)
    rank = {task: position for position, task in enumerate(tasks)}
    frame = joined.frame.sort_values("task", key=lambda names: names.map(rank), kind="stable", ignore_index=True)
    # The ranks' parts of the reference have digests of their own.
    meta = replace(
        joined.meta,
        tasks=tuple(tasks),
        clusters={task: joined.meta.clusters[task] for task in tasks},
        examples={task: joined.meta.examples[task] for task in tasks},
        reference_digest=reference_digest,
    )
    profile = LayerProfile(frame, meta)

    def task_mean(task: str, layer: int) -> tuple[Tensor, Tensor]:
        position = profile.layers.index(layer)
        return means[task][position], noise[task][position]

    return assemble(profile, find_transitions(profile), matrices, task_mean)
