"""Which layers to train: rules of the literature, the trial that settles them, and what comes out of it."""

from lightning_layerscope.advice.lora_ranks import equal_ranks, parameters
from lightning_layerscope.advice.selection import Selection, top_layers
from lightning_layerscope.advice.targets import TargetModule, Targets, find_targets, weights_of

__all__ = [
    "Selection",
    "TargetModule",
    "Targets",
    "equal_ranks",
    "find_targets",
    "parameters",
    "top_layers",
    "weights_of",
]
