"""What is known of torch beyond its documented interface, and of parts that must not be imported for the asking."""

from __future__ import annotations

import re
import sys
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

# Where every nn.Module keeps its tensors, submodules and forward hooks. The hooks are among them as some models install
# theirs on first use.
MODULE_TABLES = (
    "_parameters",
    "_buffers",
    "_modules",
    "_non_persistent_buffers_set",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
)
_COMPILED = "_orig_mod"


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


def uncompiled(module: nn.Module) -> nn.Module:
    """The module inside the wrapper of ``torch.compile``, or the module itself."""
    return cast(nn.Module, getattr(module, _COMPILED, module))


def undistributed(module: nn.Module) -> nn.Module:
    """The module inside ``DistributedDataParallel``, whose forward pass is a collective, or the module itself."""
    wrapped = _is_a(module, "torch.nn.parallel", "DistributedDataParallel")
    return cast(nn.Module, module.module) if wrapped else module


def is_compiled(module: nn.Module) -> bool:
    """Whether calling this module runs compiled code, by ``torch.compile(module)`` or ``module.compile()``."""
    return hasattr(module, _COMPILED) or getattr(module, "_compiled_call_impl", None) is not None


def name_without_compile(name: str) -> str:
    """A module's dotted name without the part that ``torch.compile`` inserts."""
    return re.sub(rf"(^|\.){_COMPILED}(?=\.|$)", "", name).lstrip(".")


def is_fsdp1(module: nn.Module) -> bool:
    """Whether this is a wrapper of torch's first FSDP."""
    return _is_a(module, "torch.distributed.fsdp", "FullyShardedDataParallel")


def has_sharded_parameters(model: nn.Module) -> bool:
    """Whether torch has spread parameters over processes: FSDP 1 and 2, tensor parallel."""
    wrappers = _known_classes("torch.distributed.fsdp", "FullyShardedDataParallel", "FSDPModule")
    spread = _known_classes("torch.distributed.tensor", "DTensor")
    return any(isinstance(m, wrappers) for m in model.modules()) or any(
        isinstance(p, spread) for p in model.parameters()
    )


def inner_tensors(tensor: Tensor) -> list[Tensor] | None:
    """The tensors that a wrapper (DTensor, quantised weights of torchao) is made of; None for a plain tensor."""
    flatten: Any = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None:
        return None
    parts = [getattr(tensor, name) for name in flatten()[0]]
    return [part for part in parts if isinstance(part, Tensor)]  # a DTensor names its mesh, too


def product_backends() -> list[Any]:
    """Those whose precision of float32 products is set one by one (``fp32_precision``); none before torch 2.9.

    Where they are, the older ``get_float32_matmul_precision`` refuses to answer once a caller has set a single one.
    """
    mkldnn: Any = torch.backends.mkldnn
    backends: list[Any] = [torch.backends.cuda.matmul, getattr(mkldnn, "matmul", mkldnn)]
    return backends if all(hasattr(backend, "fp32_precision") for backend in backends) else []


def reduces_products(backend: Any) -> bool:
    """Whether a backend may take TF32 or bfloat16 inside float32 products."""
    return backend.fp32_precision not in ("none", "ieee")


def products_are_reduced() -> bool:
    """Whether the caller lets float32 products be made in less on any device."""
    if backends := product_backends():
        return any(map(reduces_products, backends))
    return torch.get_float32_matmul_precision() != "highest"


def _is_a(thing: object, module: str, name: str) -> bool:
    return isinstance(thing, _known_classes(module, name))


def _known_classes(module: str, *names: str) -> tuple[type, ...]:
    """Classes for ``isinstance`` without an import: what was never imported has no instances."""
    kinds = (getattr(sys.modules.get(module), name, None) for name in names)
    return tuple(kind for kind in kinds if isinstance(kind, type))


def version(tensor: Tensor) -> int:
    """Torch's counter of in-place changes; -1 for tensors that have none (made in inference mode, uninitialised)."""
    return -1 if is_lazy(tensor) or tensor.is_inference() else tensor._version
