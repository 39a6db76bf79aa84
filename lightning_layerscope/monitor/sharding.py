"""Models whose parameters are spread over processes."""

from __future__ import annotations

from torch import nn

from lightning_layerscope.compat.deepspeed import has_partitioned_parameters
from lightning_layerscope.compat.torch import has_sharded_parameters


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


def sharded(model: nn.Module) -> bool:
    """Whether parameters are spread over processes (FSDP 1 and 2, tensor parallel, DeepSpeed stage 3)."""
    return has_sharded_parameters(model) or has_partitioned_parameters(model)
