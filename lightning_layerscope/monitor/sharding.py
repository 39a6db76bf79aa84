"""Models on which active mode would hang."""

from __future__ import annotations

from torch import nn

from lightning_layerscope.extraction.sharding import sharded


def check_not_sharded(model: nn.Module) -> None:
    """Refuse a model on which a forward pass of one task per process would hang.

    Raises:
        ValueError: For FSDP 1 and 2, tensor parallelism and DeepSpeed stage 3.
    """
    if sharded(model):
        raise ValueError(
            "the model's parameters are sharded over processes, where a forward pass of one task per process would "
            'hang; use mode="passive", which reads the states of your own validation'
        )
