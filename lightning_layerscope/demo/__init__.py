"""What ``layerscope demo`` runs: fine-tune a small model with the monitor attached, and say what it saw."""

from lightning_layerscope.demo.options import DemoOptions, DemoResult
from lightning_layerscope.demo.reading import read_demo
from lightning_layerscope.demo.run import run_demo

__all__ = ["DemoOptions", "DemoResult", "read_demo", "run_demo"]
