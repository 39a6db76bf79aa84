"""Models whose parameters are spread over processes."""

from __future__ import annotations

from torch import nn

from lightning_layerscope.compat.deepspeed import has_partitioned_parameters
from lightning_layerscope.compat.torch import has_sharded_parameters


def sharded(model: nn.Module) -> bool:
    """Whether parameters are spread over processes (FSDP 1 and 2, tensor parallel, DeepSpeed stage 3)."""
    return has_sharded_parameters(model) or has_partitioned_parameters(model)
