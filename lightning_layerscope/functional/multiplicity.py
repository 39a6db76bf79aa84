"""Many verdicts at once: p-values, adjusted for their number, and the noise that they are held against."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def adjusted_pvalues(pvalues: Any) -> Floats:
    """P-values adjusted for their number, so that a level holds the false discovery rate.

    Of the findings whose adjusted p-value is at most .1, no more than a tenth are expected to be false; where there is
    nothing to find, some finding is made in at most a tenth of the studies.

    Source: Benjamini and Hochberg 1995.

    Args:
        pvalues: p-values in any shape, adjusted together. NaN stays NaN and does not count.

    Returns:
        Of the same shape, in [0, 1].

    Raises:
        ValueError: For p-values outside [0, 1].

    Examples:
        >>> adjusted_pvalues([0.01, 0.04, 0.5]).round(3)
        array([0.03, 0.06, 0.5 ])
    """
    values = np.asarray(pvalues, dtype=np.float64)
    adjusted = np.full(values.shape, np.nan)
    known = ~np.isnan(values)
    if ((values[known] < 0) | (values[known] > 1)).any():
        raise ValueError(
            f"expected p-values between 0 and 1 or NaN, got {values[known].min()} to {values[known].max()}"
        )
    if known.any():
        # Imported here: importing the package loads no scipy.
        from scipy.stats import false_discovery_control

        adjusted[known] = false_discovery_control(values[known])
    return adjusted


def expected_by_chance(pvalues: Any, level: float) -> float:
    """How many of these p-values would be at most ``level`` if there were nothing to find."""
    return level * int(np.isfinite(np.asarray(pvalues, dtype=np.float64)).sum())


def pooled_scatter(groups: Iterable[Sequence[float]]) -> tuple[float, int]:
    """Standard deviation within groups, pooled over them, and its degrees of freedom; NaN and 0 where none has two.

    Two seeds tell next to nothing of one task's scatter; the seeds of all tasks together tell it well.

    Args:
        groups: Per task its value with each seed; NaN values are left out.

    Examples:
        >>> pooled_scatter([[1.0, 3.0], [5.0, 5.0], [7.0]])
        (1.0, 2)
    """
    squares, freedom = 0.0, 0
    for group in groups:
        values = np.asarray(group, dtype=np.float64)
        values = values[np.isfinite(values)]
        if len(values) > 1:
            squares += float(np.square(values - values.mean()).sum())
            freedom += len(values) - 1
    return (math.sqrt(squares / freedom), freedom) if freedom else (math.nan, 0)


def level_of_look(look: int, level: float) -> float:
    r"""Level of one of many looks at the same run, however many there will be.

    .. math:: \alpha_k = \frac{6}{\pi^2 k^2} \alpha, \qquad \sum_{k=1}^\infty \alpha_k = \alpha

    Whoever looks again and again finds something at last: after 20 looks at 5 % each, in up to two runs of three. With
    these levels some look errs in at most ``level`` of the runs, whatever the looks have to do with each other. Source:
    Bonferroni's inequality, spent over looks as in Lan and DeMets 1983.

    Args:
        look: 1, 2, ...
        level: Level of all looks together, in (0, 1).

    Raises:
        ValueError: For a look below 1, or a level outside (0, 1).

    Examples:
        >>> round(level_of_look(1, 0.01), 5), round(level_of_look(10, 0.01), 7)
        (0.00608, 6.08e-05)
    """
    if look < 1 or not 0 < level < 1:
        raise ValueError(f"expected a look from 1 on and a level in (0, 1), got {look} and {level}")
    return 6 * level / (math.pi * look) ** 2


@dataclass(frozen=True)
class Noise:
    """Standard error of a mean, and the degrees of freedom with which it is known."""

    stderr: float
    freedom: float


def noise_of_mean(stderr: float, scatter: float, seeds: int, freedom: int) -> Noise:
    r"""Standard error of a mean over seeds, :math:`\sqrt{\mathrm{se}^2 + s^2 / m}`.

    Source: Satterthwaite 1946, for the degrees of freedom; those of ``stderr`` are taken as many.

    Args:
        stderr: Over the examples.
        scatter: Between seeds, pooled over tasks; NaN where it is not known, and then left out.
        seeds: How many the mean is over.
        freedom: Degrees of freedom of ``scatter``.

    Examples:
        >>> noise_of_mean(3.0, 4.0, 1, 10)
        Noise(stderr=5.0, freedom=24.4140625)
    """
    if math.isnan(scatter) or scatter == 0:
        return Noise(stderr, math.inf)
    part = scatter**2 / seeds
    return Noise(math.sqrt(stderr**2 + part), freedom * ((stderr**2 + part) / part) ** 2)


def two_sided_pvalue(value: float, noise: Noise) -> float:
    """P-value of a value against 0 by Student's t; NaN where either is undefined or there is no noise.

    Examples:
        >>> round(two_sided_pvalue(1.96, Noise(1.0, math.inf)), 3)
        0.05
    """
    if not (math.isfinite(value) and math.isfinite(noise.stderr) and noise.stderr > 0):
        return math.nan
    ratio = -abs(value) / noise.stderr
    if math.isinf(noise.freedom):
        return 2 * NormalDist().cdf(ratio)
    from scipy.special import stdtr

    return 2 * float(stdtr(noise.freedom, ratio))
