"""How hidden states are compared, and what the comparison of one task gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lightning_layerscope.comparison.measures import Cells, check_measure, estimator_name
from lightning_layerscope.comparison.spectra import Spectra


@dataclass(frozen=True)
class CompareOptions:
    """How hidden states are compared; see :func:`~lightning_layerscope.compare` for each.

    Attributes:
        measure: The headline measure.
        estimator: Estimator of ``cka`` and ``rbf_cka``.
        step: Step of training.
        confidence: Nominal coverage of the intervals.
        robust: Whether to give ``cka_robust`` beside ``cka``.
        diagnostics: Whether to give diagnostics of the states.
        groups: Per task, which examples are near copies of each other; None without any.

    Raises:
        ValueError: For an unknown measure or estimator, a confidence outside (0, 1), or groups with the biased
            estimator.
    """

    measure: str = "cka"
    estimator: str = "debiased"
    step: int = 0
    confidence: float = 0.9
    robust: bool = True
    diagnostics: bool = True
    groups: Mapping[str, Sequence[int]] | None = None

    def __post_init__(self) -> None:
        check_measure(self.measure, self.estimator)
        if not 0 < self.confidence < 1:
            raise ValueError(f"expected a confidence between 0 and 1, got {self.confidence}")
        if self.groups and self.estimator != "debiased":
            raise ValueError(f'expected estimator="debiased" with groups of near copies, got {self.estimator!r}')


@dataclass(frozen=True)
class TaskComparison:
    """One task's rows, and what the warnings of all tasks together are made of.

    Attributes:
        task: Its name.
        headline: The headline measure over layers.
        robust: CKA of the robustly transformed states; None where it is not given.
        spectra: The diagnostics by name; empty where they are not given.
    """

    task: str
    headline: Cells
    robust: Cells | None
    spectra: Spectra


def task_rows(
    parts: Sequence[TaskComparison], layers: Sequence[int], clusters: Mapping[str, str], options: CompareOptions
) -> pd.DataFrame:
    """The rows of a profile.

    Args:
        parts: The results of each task.
        layers: The numbers of the layers that were compared.
        clusters: The cluster of each task.
        options: How they were compared.
    """
    estimator = estimator_name(options.measure, options.estimator)
    blocks: list[tuple[str, str, str, Cells]] = []
    for part in parts:
        blocks.append((part.task, options.measure, estimator, part.headline))
        if part.robust is not None:
            blocks.append((part.task, "cka_robust", estimator, part.robust))
        blocks += [(part.task, name, "", _without_interval(values)) for name, values in part.spectra.items()]
    columns: dict[str, Any] = {
        "step": options.step,
        "layer": np.tile(layers, len(blocks)),
        "task": np.repeat([block[0] for block in blocks], len(layers)),
        "cluster": np.repeat([clusters[block[0]] for block in blocks], len(layers)),
        "measure": np.repeat([block[1] for block in blocks], len(layers)),
        "estimator": np.repeat([block[2] for block in blocks], len(layers)),
    }
    for position, name in enumerate(("value", "low", "high")):
        columns[name] = np.concatenate([np.asarray(block[3][position]) for block in blocks])
    columns["reason"] = [reason for block in blocks for reason in block[3].reasons]
    frame: pd.DataFrame = pd.DataFrame(columns)
    return frame


def _without_interval(values: Tensor) -> Cells:
    none = torch.full_like(values, torch.nan)
    return Cells(values, none, none, ["zero variance" if gone else "" for gone in values.isnan().tolist()])
