"""Curves over layers, cut into shared, transition and refinement layers; or "none" where the data name no boundary."""

from lightning_layerscope.transitions.find import find_transitions
from lightning_layerscope.transitions.find_signals import find_signals
from lightning_layerscope.transitions.signals import SignalCut, SignalTable
from lightning_layerscope.transitions.transition import Transition

__all__ = ["SignalCut", "SignalTable", "Transition", "find_signals", "find_transitions"]
