"""CKA of one model with a task's controls, with its replicates over prompts, and the mean over layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from lightning_layerscope.comparison.alignment import align
from lightning_layerscope.functional.cka import undefined_reasons
from lightning_layerscope.functional.interval import Interval
from lightning_layerscope.functional.jackknife import cka_replicates, jackknife_stderr
from lightning_layerscope.references import ReferenceBank


@dataclass(frozen=True)
class Similarity:
    """One model against a task's controls: mean over these.

    Attributes:
        values: CKA per layer, (layers,).
        replicates: The same without each example, (layers, examples).
        reasons: Why a value is NaN, per layer.
    """

    values: Tensor
    replicates: Tensor
    reasons: list[str]


def against(task: str, bank: ReferenceBank, references: Sequence[ReferenceBank], estimator: str) -> Similarity:
    """One model against several references of the same prompts, averaged.

    Raises:
        ValueError: If the states are not of the same prompts.
    """
    similarities, reasons = [], [""] * len(bank.layers)
    k = bank.gram(task)
    for reference in references:
        align(bank, reference)
        other = reference.gram(task)
        similarities.append(cka_replicates(k, other, estimator=estimator))
        for position, reason in enumerate(undefined_reasons(k, other, estimator)):
            reasons[position] = reasons[position] or reason
    values, replicates = (torch.stack(part).mean(dim=0) for part in zip(*similarities, strict=True))
    return Similarity(values, replicates, reasons)


def mean_over_layers(values: Tensor, replicates: Tensor, confidence: float) -> Interval:
    """Mean over layers with a jackknife interval.

    Args:
        values: The measure per layer, shape (layers,).
        replicates: The same without example i, shape (layers, examples).
        confidence: E.g. 0.9.

    Returns:
        The mean and its interval; all NaN where a layer is undefined.
    """
    value = float(values.to(torch.float64).mean())
    half = float(jackknife_half(replicates.to(torch.float64).mean(dim=0), confidence))
    return Interval.around(value, half)


def jackknife_half(replicates: Tensor, confidence: float) -> Tensor:
    """Half the width of a delete-one jackknife's interval, over the last axis of the replicates."""
    return NormalDist().inv_cdf(0.5 + confidence / 2) * jackknife_stderr(replicates)
