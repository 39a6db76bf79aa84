"""Models whose parameters are spread over processes."""

from __future__ import annotations

from torch import nn


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
    wrapped = any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules())
    return wrapped or any(hasattr(p, "device_mesh") or hasattr(p, "ds_id") for p in model.parameters())
