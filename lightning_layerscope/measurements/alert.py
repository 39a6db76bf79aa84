"""Something that a run's owner has to know, told once."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_layerscope.options import ALERTS

FORGETTING, COLLAPSE = ALERTS


@dataclass(frozen=True)
class Alert:
    """One finding of one measurement.

    Attributes:
        kind: ``"forgetting"``: the loss on what must not be lost has risen; ``"collapse"``: the states of a layer use
            less than half of the dimensions that they used at the beginning.
        text: One sentence with numbers.
    """

    kind: str
    text: str
