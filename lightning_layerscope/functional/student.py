"""Quantiles of Student's t: how much wider an interval is because its standard error was estimated."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist


@lru_cache(maxsize=4096)
def student_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t.

    Args:
        probability: Between 0 and 1.
        freedom: Degrees of freedom, at least 1.

    Raises:
        ValueError: If either is out of range.

    Examples:
        >>> round(student_quantile(0.95, 1), 3), round(student_quantile(0.95, 10), 3)
        (6.314, 1.812)
    """
    if not 0 < probability < 1 or freedom < 1:
        raise ValueError(
            f"expected a probability in (0, 1) and at least one degree of freedom, got {probability} and {freedom}"
        )
    # Imported here: importing the package loads no scipy.
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))


def cluster_widening(clusters: int, confidence: float) -> float:
    """Factor by which percentiles of a bootstrap over few clusters must be spread about the estimate.

    Resampling C clusters gives a variance that is short by (C - 1) / C, and its percentiles are those of a normal
    distribution where the estimated variance calls for Student's t with C - 1 degrees of freedom.

    Args:
        clusters: How many were resampled, at least 2.
        confidence: Nominal coverage of the interval, between 0 and 1.
    """
    probability = (1 + confidence) / 2
    normal = NormalDist().inv_cdf(probability)
    return math.sqrt(clusters / (clusters - 1)) * student_quantile(probability, clusters - 1) / normal
