"""From a model and probes to hidden states: find the layers, keep what is wanted, leave no trace."""

from lightning_layerscope.extraction.batching import Batch, plan_batches
from lightning_layerscope.extraction.capture import Capture, DeepestLayerReached
from lightning_layerscope.extraction.extract import extract_hidden_states
from lightning_layerscope.extraction.guard import ModelChangedError, no_trace
from lightning_layerscope.extraction.layers import DecoderLayers, find_layers
from lightning_layerscope.extraction.states import HiddenStates
from lightning_layerscope.extraction.token_choice import Selection, select_tokens

__all__ = [
    "Batch",
    "Capture",
    "DecoderLayers",
    "DeepestLayerReached",
    "HiddenStates",
    "ModelChangedError",
    "Selection",
    "extract_hidden_states",
    "find_layers",
    "no_trace",
    "plan_batches",
    "select_tokens",
]
