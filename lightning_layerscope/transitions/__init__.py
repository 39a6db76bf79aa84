"""Curves over layers, cut into shared, transition and refinement layers; or "none" where the data name no boundary."""

from lightning_layerscope.transitions.find import find_transitions
from lightning_layerscope.transitions.transition import Transition

__all__ = ["Transition", "find_transitions"]
