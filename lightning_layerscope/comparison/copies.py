"""Which examples of each task are near copies of each other, checked against what is compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lightning_layerscope.functional._groups import group_positions


def check_groups(given: Mapping[str, Sequence[int]], sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """Per task the group of each example, ``(examples,)``, numbered from 0.

    Args:
        given: Per task a number for each example.
        sizes: Number of examples of each task that is compared.

    Raises:
        ValueError: For other tasks or numbers of examples.
    """
    wrong = {task: len(labels) for task, labels in given.items() if len(labels) != sizes.get(task)}
    if wrong:
        raise ValueError(
            f"expected groups with a number per example of the tasks compared ({dict(sizes)}), got lengths {wrong}"
        )
    return {task: group_positions(torch.tensor(labels), len(labels)) for task, labels in given.items()}


def groups_in_words(groups: Mapping[str, Tensor]) -> list[str]:
    """One sentence on the tasks with near copies; none without any."""
    if not groups:
        return []
    listed = ", ".join(f"{task} {int(each.max()) + 1} of {len(each)}" for task, each in groups.items())
    return [f"near copies among the prompts count once; prompts that are none of each other: {listed}"]
