"""What a task's similarity may correlate with (figure 6): prompt length, data size, readability."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lightning_layerscope._extras import require

Array = np.ndarray[Any, np.dtype[np.float64]]


def flesch_reading_ease(text: str) -> float:
    """Readability of English text: 100 is very easy, below 30 very hard; NaN without a word.

    206.835 - 1.015 words/sentences - 84.6 syllables/words (Flesch 1948, J. Applied Psychology 32). Syllables are groups
    of vowels without a final silent e, an approximation; for other languages than English the number means little.

    Example:
        >>> round(flesch_reading_ease("The cat sat on the mat."), 1)
        116.1
    """
    words = re.findall(r"[^\W\d_]+", text)
    if not words:
        return float("nan")
    sentences = max(1, len(re.findall(r"[.!?]+(?:\s|$)", text)))
    syllables = sum(_syllables(word.lower()) for word in words)
    return 206.835 - 1.015 * len(words) / sentences - 84.6 * syllables / len(words)


def _syllables(word: str) -> int:
    silent = word.endswith("e") and not word.endswith(("le", "ee"))
    return max(1, len(re.findall(r"[aeiouyäöüàâéèêëîïôùûáíóúæœ]+", word)) - silent)


def correlate(
    values: Mapping[str, Array], covariates: Mapping[str, Sequence[float]]
) -> tuple[dict[str, dict[str, Array]], dict[str, dict[str, Array]]]:
    """Pearson correlation over tasks of each layer's values with each covariate.

    Args:
        values: Role to values of shape (tasks, layers).
        covariates: Name to one number per task.

    Returns:
        Correlations and two-sided p-values, each covariate to role to (layers,). NaN where fewer than three tasks have
        both numbers, or where one side does not vary.
    """
    stats = require("scipy.stats", extra="study")
    correlations: dict[str, dict[str, Array]] = {}
    pvalues: dict[str, dict[str, Array]] = {}
    for name, numbers in covariates.items():
        x = np.asarray(numbers, dtype=float)
        for role, matrix in values.items():
            pairs = [_pearson(stats, x, np.asarray(column, dtype=float)) for column in np.asarray(matrix).T]
            correlations.setdefault(name, {})[role] = np.asarray([pair[0] for pair in pairs])
            pvalues.setdefault(name, {})[role] = np.asarray([pair[1] for pair in pairs])
    return correlations, pvalues


def _pearson(stats: Any, x: Array, y: Array) -> tuple[float, float]:
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < 3 or np.ptp(x[both]) == 0 or np.ptp(y[both]) == 0:
        return float("nan"), float("nan")
    result = stats.pearsonr(x[both], y[both])
    return float(result.statistic), float(result.pvalue)
