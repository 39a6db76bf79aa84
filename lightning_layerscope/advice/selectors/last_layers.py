"""The layers next to the output."""

from __future__ import annotations

from lightning_layerscope.advice.selection import Selection


def last_layers(num_layers: int, count: int) -> Selection:
    """Layers L - count + 1 .. L: what transfer learning has done since Yosinski et al. 2014 (arXiv 1411.1792).

    Raises:
        ValueError: Unless 1 <= count <= num_layers.

    Example:
        >>> last_layers(18, 3).layers
        (16, 17, 18)
    """
    if not 1 <= count <= num_layers:
        raise ValueError(f"last_layers: expected a count between 1 and {num_layers}, got {count}.")
    return Selection("last", tuple(range(num_layers - count + 1, num_layers + 1)))
