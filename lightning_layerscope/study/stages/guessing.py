"""What answering without reading the prompt would lose: every answer by how often it is the answer of the task.

A model that learned how answers look, and nothing of what they depend on, comes as far as this. It is the entropy of
the answers where they are few; where nearly every row has an answer of its own, it says nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

_ROWS_PER_ANSWER = 2
"""On average, for answers to count as repeated."""


def guessing_losses(answers: Sequence[str], tokens: Sequence[int]) -> list[float] | None:
    """Loss of each row, in nats per answer token, when its answer has the frequency that it has among the other rows.

    Frequencies are smoothed by one row per answer (Laplace's rule), so that an answer of one row alone has one, too.

    Args:
        answers: One per row.
        tokens: How many tokens each is.

    Returns:
        One loss per row; None where answers do not repeat, each being that of two rows on average.

    Examples:
        >>> [round(loss, 3) for loss in guessing_losses(["yes", "yes", "no", "no"], [1, 1, 1, 2])]
        [0.916, 0.916, 0.916, 0.458]
        >>> guessing_losses(["a dog", "a cat", "two birds"], [2, 2, 2]) is None
        True
    """
    counts = Counter(answers)
    if len(answers) < _ROWS_PER_ANSWER * len(counts):
        return None
    others = len(answers) - 1 + len(counts)
    return [-math.log(counts[answer] / others) / length for answer, length in zip(answers, tokens, strict=True)]
