"""Rules that name layers to train, one per file, each with its source."""

from lightning_layerscope.advice.selectors.all_layers import all_layers
from lightning_layerscope.advice.selectors.causal import most_missed
from lightning_layerscope.advice.selectors.condition_number import best_conditioned, condition_ranking
from lightning_layerscope.advice.selectors.first_layers import first_layers
from lightning_layerscope.advice.selectors.gradient_probe import largest_gradients
from lightning_layerscope.advice.selectors.last_layers import last_layers
from lightning_layerscope.advice.selectors.middle_band import middle_band
from lightning_layerscope.advice.selectors.neighbour_similarity import least_similar_to_input, most_similar_to_input
from lightning_layerscope.advice.selectors.pilot_drift import most_moved, most_moved_per_update
from lightning_layerscope.advice.selectors.random_layers import random_layers
from lightning_layerscope.advice.selectors.spectral_signal import signal_to_noise, strongest_signal

__all__ = [
    "all_layers",
    "best_conditioned",
    "condition_ranking",
    "first_layers",
    "largest_gradients",
    "last_layers",
    "least_similar_to_input",
    "middle_band",
    "most_missed",
    "most_moved",
    "most_moved_per_update",
    "most_similar_to_input",
    "random_layers",
    "signal_to_noise",
    "strongest_signal",
]
