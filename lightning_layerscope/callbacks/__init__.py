"""Attach the monitor to a run: Lightning in both namespaces, transformers' Trainer and TRL, a loop of one's own.

Loaded on first use: the one callback does not import the other's trainer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning_layerscope.options import Actions, Comparison, Extraction, Output, Passive, Schedule, Signals

if TYPE_CHECKING:
    from lightning_layerscope.callbacks.lightning import LayerSimilarityMonitor
    from lightning_layerscope.callbacks.transformers import TransformersLayerSimilarityMonitor

__all__ = [
    "Actions",
    "Comparison",
    "Extraction",
    "LayerSimilarityMonitor",
    "Output",
    "Passive",
    "Schedule",
    "Signals",
    "TransformersLayerSimilarityMonitor",
]


def __getattr__(name: str) -> Any:
    if name == "LayerSimilarityMonitor":
        from lightning_layerscope.callbacks.lightning import LayerSimilarityMonitor

        return LayerSimilarityMonitor
    if name == "TransformersLayerSimilarityMonitor":
        from lightning_layerscope.callbacks.transformers import TransformersLayerSimilarityMonitor

        return TransformersLayerSimilarityMonitor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
