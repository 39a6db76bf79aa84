"""What is known of torch beyond its documented interface."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def is_scripted(module: nn.Module) -> bool:
    """Whether this is a module of ``torch.jit`` (scripted or traced), whose attributes live outside Python."""
    return isinstance(module, torch.jit.ScriptModule)


def scripted_attributes(module: nn.Module) -> dict[str, Any]:
    """The plain attributes of a scripted module (numbers, texts, lists of such) with their values.

    Tensors are left out: they are buffers, or shared with Python.
    """
    concrete: Any = vars(module).get("_concrete_type")
    if concrete is None:  # a traced module has none that its code could write
        return {}
    values = {name: getattr(module, name) for name in concrete.get_attributes()}
    return {name: value for name, value in values.items() if not isinstance(value, torch.Tensor)}
