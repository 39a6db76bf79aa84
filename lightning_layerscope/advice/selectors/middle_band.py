"""All layers of the middle of the network."""

from __future__ import annotations

import math

from lightning_layerscope.advice.selection import Selection


def middle_band(num_layers: int, low: float = 0.2, high: float = 0.8) -> Selection:
    r"""The layers between two shares of the depth.

    .. math:: \lceil \mathrm{low} \cdot L \rceil \le l \le \lceil \mathrm{high} \cdot L \rceil

    Source: "Layer-wise analysis of supervised fine-tuning" 2026 (arXiv 2604.11838): the middle 20-80 % are stable and
    adapters there did better than everywhere. The number of layers follows from the band, not from a budget: the ranks
    are lowered instead.

    Args:
        num_layers: L.
        low: Share of the depth at which the band begins, in [0, 1).
        high: Share at which it ends, in (low, 1].

    Raises:
        ValueError: For shares out of order.

    Example:
        >>> middle_band(18).layers
        (4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
    """
    if not 0 <= low < high <= 1:
        raise ValueError(f"middle_band: expected 0 <= low < high <= 1, got {low} and {high}.")
    # Rounded first: .2 * 15 is a little more than 3 in binary.
    first, last = (math.ceil(round(share * num_layers, 9)) for share in (low, high))
    return Selection("middle-band", tuple(range(max(first, 1), last + 1)))
