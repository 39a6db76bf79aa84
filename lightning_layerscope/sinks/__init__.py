"""Where results go: Weights & Biases, any Lightning logger, and a self-contained HTML report."""

from lightning_layerscope.sinks.base import Sink
from lightning_layerscope.sinks.loggers import ScalarSink, sinks_for
from lightning_layerscope.sinks.wandb import WandbSink

__all__ = ["ScalarSink", "Sink", "WandbSink", "sinks_for"]
