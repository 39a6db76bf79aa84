"""The layers next to the input."""

from __future__ import annotations

from lightning_layerscope.advice.selection import Selection


def first_layers(num_layers: int, count: int) -> Selection:
    """Layers 1..count: a baseline without a source of its own.

    Raises:
        ValueError: Unless 1 <= count <= num_layers.

    Example:
        >>> first_layers(18, 3).layers
        (1, 2, 3)
    """
    if not 1 <= count <= num_layers:
        raise ValueError(f"first_layers: expected a count between 1 and {num_layers}, got {count}.")
    return Selection("first", tuple(range(1, count + 1)))
