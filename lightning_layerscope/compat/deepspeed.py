"""What is known of DeepSpeed."""

from __future__ import annotations

from torch import nn


def has_partitioned_parameters(model: nn.Module) -> bool:
    """Whether this is a model of DeepSpeed's stage 3, whose parameters are spread over processes."""
    return any(hasattr(parameter, "ds_id") for parameter in model.parameters())
