"""Whether one model's loss is lower than another's, row by row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Improvement:
    """How much lower the loss of a tuned model is than the base model's, mean over rows with its interval (nats)."""

    value: float
    low: float
    high: float

    @property
    def learned(self) -> bool:
        """Whether the loss went down beyond the rows' chance."""
        return self.low > 0


def improvement(base: Sequence[float], tuned: Sequence[float], confidence: float) -> Improvement:
    """Paired difference of two models' losses on the same rows, with a normal interval over rows.

    Raises:
        ValueError: If the rows are not the same in number.
    """
    if len(base) != len(tuned) or len(base) < 2:
        raise ValueError(f"expected the same rows for both models, at least 2, got {len(base)} and {len(tuned)}")
    gain: Array = np.asarray(base) - np.asarray(tuned)
    half = NormalDist().inv_cdf(0.5 + confidence / 2) * float(gain.std(ddof=1)) / math.sqrt(len(gain))
    mean = float(gain.mean())
    return Improvement(mean, mean - half, mean + half)
