"""Question 1 of the paper, task by task: what the base model held already, and what tuning added.

Per task, *encoded* is the mean over layers of CKA(base, control), *gained* the mean over layers of
CKA(tuned, control) - CKA(base, control). Both have delete-one jackknife intervals over the task's examples; the
difference is taken example by example, because base and tuned model saw the same prompts. The *noise floor* is how far
two controls of one task lie apart that differ in nothing but their seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mean:
    """A mean over layers with its interval; all NaN where a layer is undefined."""

    value: float
    low: float
    high: float


def mean_over_layers(values: Tensor, replicates: Tensor, confidence: float) -> Mean:
    """Mean over layers with a jackknife interval.

    Args:
        values: The measure per layer, shape (layers,).
        replicates: The same without example i, shape (layers, examples).
        confidence: E.g. 0.9.

    Returns:
        The mean and its interval, from the standard error sqrt((n-1)/n sum_i (m_i - mean m)^2) (Tukey 1958).
    """
    estimates = replicates.to(torch.float64).mean(dim=0)
    n = estimates.numel()
    stderr = float(((n - 1) / n * (estimates - estimates.mean()).square().sum()).sqrt())
    value = float(values.to(torch.float64).mean())
    half = NormalDist().inv_cdf(0.5 + confidence / 2) * stderr
    return Mean(value, value - half, value + half)


def verdict(gained: Mean, noise: float | None) -> str:
    """What the numbers say of one task, in words.

    Args:
        gained: What tuning added.
        noise: Half the distance of two controls of different seeds, where there are several.
    """
    floor = noise or 0.0
    if gained.low > floor:
        return "gained by tuning"
    if gained.high < -floor:
        return "moved away from the specialist"
    return "no change beyond the noise"
