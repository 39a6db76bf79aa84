"""Loss of each held-out row, so that two models can be compared row by row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from torch import nn

from lightning_layerscope.training.encoding import EncodedExample
from lightning_layerscope.training.evaluation import row_losses as batched_row_losses

Array = np.ndarray[Any, np.dtype[np.float64]]


def row_losses(
    model: nn.Module,
    rows: Sequence[EncodedExample],
    *,
    padding: int,
    max_tokens_per_batch: int = 8192,
    progress: Callable[[int, int], None] | None = None,
) -> list[float]:
    """Cross-entropy per answer token of each row, in nats; the model is left as it was.

    Args:
        model: A causal language model, with or without adapters.
        rows: Encoded, all of one task.
        padding: Token id to pad with.
        max_tokens_per_batch: Bound of the padded tokens in one pass.
        progress: Called with (rows done, rows in all) after every pass.
    """
    losses = batched_row_losses(
        model, rows, padding=padding, max_tokens_per_batch=max_tokens_per_batch, progress=progress
    )
    return [float(loss) for loss in losses.total.double() / losses.tokens]


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
