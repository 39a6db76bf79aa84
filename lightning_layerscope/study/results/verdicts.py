"""Verdicts on many tasks: held against noise that is pooled over them, and adjusted for their number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from lightning_layerscope.functional.multiplicity import (
    adjusted_pvalues,
    noise_of_mean,
    pooled_scatter,
    two_sided_pvalue,
)
from lightning_layerscope.study.stages.gains import GAINED, MOVED_AWAY, NO_CHANGE, UNDEFINED, Gains


@dataclass(frozen=True)
class Verdict:
    """What the gain on one task says.

    Attributes:
        words: In words, at the study's confidence for this task alone.
        pvalue: p-value of the gain against none; NaN where undefined.
        adjusted: The same adjusted for the number of tasks judged (Benjamini and Hochberg).
        noise: Standard error that it was held against: over prompts, and over the controls' seeds where there are
            several, their scatter pooled over tasks.
    """

    words: str
    pvalue: float
    adjusted: float
    noise: float


def give_verdicts(gains: Mapping[str, Gains], confidence: float) -> dict[str, Verdict]:
    """The verdicts on all tasks that can be judged.

    Args:
        gains: Task to what tuning added on it; only tasks whose controls are specialists.
        confidence: Nominal coverage of the intervals in ``gains``, and of each verdict alone.
    """
    scatter, freedom = pooled_scatter(each.seed_gains or () for each in gains.values())
    normal = NormalDist().inv_cdf((1 + confidence) / 2)
    noises, pvalues = [], []
    for each in gains.values():
        stderr = (each.gained.high - each.gained.low) / (2 * normal)
        noises.append(noise_of_mean(stderr, scatter, len(each.seed_gains or ()) or 1, freedom))
        pvalues.append(two_sided_pvalue(each.gained.value, noises[-1]))
    adjusted = adjusted_pvalues(pvalues)
    return {
        task: Verdict(_words(each.gained.value, pvalue, confidence), pvalue, float(together), noise.stderr)
        for (task, each), pvalue, together, noise in zip(gains.items(), pvalues, adjusted, noises, strict=True)
    }


def _words(gained: float, pvalue: float, confidence: float) -> str:
    if np.isnan(pvalue):
        return UNDEFINED
    if pvalue > 1 - confidence:
        return NO_CHANGE
    return GAINED if gained > 0 else MOVED_AWAY
