"""How readable a text is, for figure 6."""

from __future__ import annotations

import re


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
