"""Where results go: Weights & Biases, TensorBoard, any Lightning logger, and a self-contained HTML report.

Each tracker has a file of its own with a class of the form :class:`Sink`; ``loggers.py`` finds the one that fits.
"""

from lightning_layerscope.sinks.base import PictureSink, Sink
from lightning_layerscope.sinks.loggers import sinks_for
from lightning_layerscope.sinks.scalars import ScalarSink
from lightning_layerscope.sinks.tensorboard import TensorBoardSink
from lightning_layerscope.sinks.wandb import WandbSink

__all__ = ["PictureSink", "ScalarSink", "Sink", "TensorBoardSink", "WandbSink", "sinks_for"]
