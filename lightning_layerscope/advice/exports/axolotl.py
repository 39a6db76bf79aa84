"""A selection as Axolotl's ``unfrozen_parameters``."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_layerscope.advice.selection import Selection
from lightning_layerscope.advice.targets import Targets


def unfrozen_parameters(targets: Targets, selection: Selection) -> list[str]:
    """Patterns for full fine-tuning of the chosen layers, or matrices, in Axolotl.

    Axolotl matches each pattern with the beginning of a parameter's name and reads a dot as a dot; everything that no
    pattern matches is frozen.

    Args:
        targets: Tells how the model names its layers.
        selection: The layers to train; where it names matrices, these alone.

    Example:
        >>> unfrozen_parameters(Targets("model.layers", 18, ()), Selection("middle", (4, 5)))
        ['^model.layers.(3|4).']
    """
    if selection.modules:
        return [f"^{name}.weight$" for name in selection.modules]
    return [f"^{targets.stack}.({_indices(selection.layers)})."]


def _indices(layers: Sequence[int]) -> str:
    return "|".join(str(layer - 1) for layer in layers)
