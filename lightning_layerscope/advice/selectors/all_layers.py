"""Every layer, at a lower rank."""

from __future__ import annotations

from lightning_layerscope.advice.selection import Selection


def all_layers(num_layers: int) -> Selection:
    """Layers 1..L: what LoRA does by default (Hu et al. 2022, arXiv 2106.09685); its ranks are lowered to the budget.

    Raises:
        ValueError: For fewer than one layer.

    Example:
        >>> all_layers(3).layers
        (1, 2, 3)
    """
    return Selection("all", tuple(range(1, num_layers + 1)))
