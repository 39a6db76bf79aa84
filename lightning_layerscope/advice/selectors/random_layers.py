"""Layers drawn by lot."""

from __future__ import annotations

import random

from lightning_layerscope.advice.selection import Selection


def random_layers(num_layers: int, count: int, seed: int = 0) -> Selection:
    """The baseline that every other rule has to beat; each seed of a trial draws its own layers.

    Raises:
        ValueError: Unless 1 <= count <= num_layers.

    Example:
        >>> random_layers(18, 18).layers == tuple(range(1, 19))
        True
    """
    if not 1 <= count <= num_layers:
        raise ValueError(f"random_layers: expected a count between 1 and {num_layers}, got {count}.")
    return Selection("random", tuple(sorted(random.Random(seed).sample(range(1, num_layers + 1), count))))
