"""Whether one model's loss is lower than another's, row by row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lightning_layerscope.functional.interval import Interval
from lightning_layerscope.functional.student import student_quantile

Array = np.ndarray[Any, np.dtype[np.float64]]


def improvement(worse: Sequence[float], better: Sequence[float], confidence: float) -> Interval:
    """Paired difference of two models' losses on the same rows, with Student's interval over rows.

    Args:
        worse: Losses of the one model, a row each.
        better: Losses of the other.
        confidence: E.g. 0.9.

    Returns:
        Mean of worse - better; positive where the other model is better indeed.

    Raises:
        ValueError: If the rows are not the same in number.
    """
    if len(worse) != len(better) or len(worse) < 2:
        raise ValueError(f"expected the same rows for both models, at least 2, got {len(worse)} and {len(better)}")
    gain: Array = np.asarray(worse) - np.asarray(better)
    half = student_quantile(0.5 + confidence / 2, len(gain) - 1) * float(gain.std(ddof=1)) / math.sqrt(len(gain))
    return Interval.around(float(gain.mean()), half)
