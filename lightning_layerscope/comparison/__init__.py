"""compare: hidden states against a reference, per task and layer, with intervals."""

from lightning_layerscope.comparison.compare import compare
from lightning_layerscope.comparison.measures import MEASURES

__all__ = ["MEASURES", "compare"]
