"""What a selector says, and the rule that most of them share: the layers with the highest scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Selection:
    """Layers that a rule would train.

    Attributes:
        selector: Name of the rule.
        layers: Layers 1..L, ascending; layer l is decoder block l.
        scores: Scores of the layers 1..L, the higher the sooner trained; NaN where a layer has none; empty where the
            rule does not score layers.
        modules: Full names of the matrices, where the rule chooses matrices instead of layers; else empty.
    """

    selector: str
    layers: tuple[int, ...]
    scores: tuple[float, ...] = ()
    modules: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.layers or list(self.layers) != sorted(set(self.layers)) or self.layers[0] < 1:
            raise ValueError(f"{self.selector}: expected ascending layers from 1 on, at least one, got {self.layers}.")


def top_layers(scores: Sequence[float], count: int) -> tuple[int, ...]:
    """The layers with the highest scores, ascending.

    Args:
        scores: Scores of the layers 1..L; a layer whose score is NaN is not chosen. Of equal scores the
            earlier layer goes first.
        count: How many layers.

    Raises:
        ValueError: For a count below 1, or fewer layers with a score.

    Example:
        >>> top_layers([0.1, 0.9, float("nan"), 0.9, 0.5], 3)
        (2, 4, 5)
    """
    known = [layer for layer, score in enumerate(scores, start=1) if not math.isnan(score)]
    if not 1 <= count <= len(known):
        raise ValueError(
            f"cannot choose {count} layers: {len(known)} of {len(scores)} have a score; expected a number from 1 to "
            f"{len(known)}."
        )
    best = sorted(known, key=lambda layer: (-scores[layer - 1], layer))[:count]
    return tuple(sorted(best))
