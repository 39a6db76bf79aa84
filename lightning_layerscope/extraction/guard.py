"""Run something on a model that is in training, and leave no trace of it."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# A mutated buffer is put back from a clone taken beforehand; beyond this many elements the clone would cost more memory
# than a probe may take, so a mutation is reported instead. (Real buffers are small: inv_freq, position ids, norm
# statistics.)
_CLONE_LIMIT = 1_000_000
# Registered by name in every nn.Module. Forward hooks are put back too: some models install theirs on first use.
_HOOK_TABLES = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
)
_TABLES = frozenset({"_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", *_HOOK_TABLES})
_MISSING = object()


@contextlib.contextmanager
def no_trace(model: nn.Module, *, force_eager: bool = True) -> Iterator[None]:
    """Evaluate ``model`` inside the block and restore everything afterwards, also when the block raises.

    Inside the block every module is in evaluation mode (but for 4-bit layers of bitsandbytes), gradients and inference
    mode are off, the autocast weight cache is off (casts cached without gradients would cut the surrounding training
    step off from its weights), and compiled models run eagerly. Restored on exit: ``training`` of each module (never
    through ``train()``, which users override), ``requires_grad`` of each parameter, buffers (reference and value),
    attributes of the modules, their forward hooks, and the random number generators of torch (all devices in use),
    Python and NumPy.

    The guard does not undo changes of parameter *values*: it detects them.

    Args:
        model: Any module. Wrappers (DDP, compile, PEFT, a LightningModule) are fine.
        force_eager: Run compiled modules without their compiled code, so that probes of new shapes cause no
            recompilation.

    Raises:
        RuntimeError: When the block changed a parameter in place, or a buffer too large to be restored.
    """
    modules = list(model.modules())
    snapshot = [_ModuleSnapshot(module) for module in modules]
    parameters = [(name, p, p.requires_grad, _version(p)) for name, p in model.named_parameters()]
    with contextlib.ExitStack() as stack:
        stack.enter_context(_restored_rng(modules))
        stack.enter_context(_restored_autocast_cache())
        if (
            force_eager and "torch._dynamo" in sys.modules
        ):  # not loaded: nothing is compiled, and loading it takes seconds
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        finished = False
        try:
            for module in modules:
                if not _repacks_in_evaluation(module):
                    module.training = False
            yield
            finished = True
        finally:
            # In this order: a restored attribute may be what a buffer or flag is looked up by.
            damage = [message for entry in snapshot for message in entry.restore()]
            for name, parameter, requires_grad, version in parameters:
                if parameter.requires_grad != requires_grad:
                    parameter.requires_grad_(requires_grad)
                if _version(parameter) != version:
                    damage.append(f"parameter {name!r} was changed in place")
            if damage and finished:  # otherwise the block's own error goes first
                raise RuntimeError(
                    "What ran inside no_trace changed the model: "
                    + "; ".join(damage[:5])
                    + (f"; and {len(damage) - 5} more" if len(damage) > 5 else "")
                    + ". Run only forward passes that leave parameters alone: no optimiser step, no merged adapters."
                )


def _repacks_in_evaluation(module: nn.Module) -> bool:
    """Whether it is a 4-bit layer of bitsandbytes.

    On CPUs with bfloat16 instructions these repack their weights when they are evaluated, and not back to the bit. The
    mode changes nothing else in them.
    """
    return any(c.__name__ == "Linear4bit" and c.__module__.startswith("bitsandbytes.") for c in type(module).__mro__)


class _ModuleSnapshot:
    """The state of one module outside its parameters: attributes, buffers, hooks."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.attributes = {key: value for key, value in vars(module).items() if key not in _TABLES}
        # Lists, dicts and sets change without being rebound (PEFT: active adapters, merged adapters).
        self.contents = {k: v.copy() for k, v in self.attributes.items() if type(v) in (list, dict, set)}
        self.tables = {
            key: table.copy()
            for key in ("_buffers", "_non_persistent_buffers_set", *_HOOK_TABLES)
            if (table := vars(module).get(key))
        }
        self.buffers = [(name, b, _version(b), _clone(b)) for name, b in module._buffers.items() if b is not None]

    def restore(self) -> list[str]:
        """Put everything back; what cannot be put back is returned in words."""
        now, damage = vars(self.module), []
        for key in [key for key in now if key not in _TABLES and key not in self.attributes]:
            del now[key]
        for key, value in self.attributes.items():
            if now.get(key, _MISSING) is not value:
                now[key] = value
        for key, content in self.contents.items():
            _refill(self.attributes[key], content)
        for key in ("_buffers", "_non_persistent_buffers_set", *_HOOK_TABLES):
            if key in now:
                _refill(now[key], self.tables.get(key, type(now[key])()))
        for name, buffer, version, clone in self.buffers:
            if _version(buffer) == version:
                continue
            if clone is None:
                damage.append(
                    f"buffer {name!r} of {type(self.module).__name__} ({buffer.numel():,} elements) was changed "
                    "in place"
                )
            else:
                buffer.copy_(clone)
        return damage


def _refill(container: Any, content: Any) -> None:
    """Give a list, dict or set its old content (and order) back, touching it only where it differs."""
    if isinstance(container, list):
        if len(container) != len(content) or any(a is not b for a, b in zip(container, content, strict=True)):
            container[:] = content
    elif isinstance(container, dict):
        if list(container) != list(content) or any(container[key] is not value for key, value in content.items()):
            container.clear()
            container.update(content)
    elif container != content:
        container.clear()
        container.update(content)


def _version(tensor: Tensor) -> int:
    """Torch's counter of in-place changes; inference tensors have none."""
    return -1 if tensor.is_inference() else tensor._version


def _clone(tensor: Tensor) -> Tensor | None:
    return tensor.detach().clone() if tensor.numel() <= _CLONE_LIMIT and not tensor.is_inference() else None


@contextlib.contextmanager
def _restored_rng(modules: list[nn.Module]) -> Iterator[None]:
    """Restore Python's, NumPy's and torch's generators: the CPU's, and those of all devices in use."""
    python, cpu = random.getstate(), torch.get_rng_state()
    numpy = np.random.get_state()  # noqa: NPY002 - the global generator is what user code draws from
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    kinds = {p.device.type for module in modules for p in module._parameters.values() if p is not None}
    others = {kind: getattr(torch, kind).get_rng_state() for kind in kinds & {"mps", "xpu"}}
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        for kind, state in others.items():
            getattr(torch, kind).set_rng_state(state)


@contextlib.contextmanager
def _restored_autocast_cache() -> Iterator[None]:
    enabled = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(enabled)
