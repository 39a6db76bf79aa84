"""What modules hold beside the values of their tensors: attributes and their contents, tables, hooks, generators."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from torch import Tensor, nn

from lightning_layerscope.compat.torch import MODULE_TABLES, is_scripted, scripted_attributes
from lightning_layerscope.extraction.generators import Restore, own_generator

_CONTAINERS = (list, dict, set, OrderedDict, defaultdict, Counter, deque)
# A container with more entries is put back as such, but its entries are not looked into: it is data, not state.
_MOST_ENTRIES = 10_000
_MOST_ARRAY_ELEMENTS = 1_000_000
_MISSING = object()


class ModuleStates:
    """Walks modules and everything they reach through attributes, lists, tuples, dicts, sets and namespaces.

    Args:
        modules: The modules of a model; those that attributes hold beside them are found from there.
        sharded: FSDP exchanges the modules' parameters for gathered ones and remembers what it did: which they are is
            left to it.

    Attributes:
        modules: All modules.
        tensors: Name and tensor of every parameter, buffer and other tensor that was reached.
    """

    def __init__(self, modules: Iterable[tuple[str, nn.Module]], *, sharded: bool = False) -> None:
        self._tables = tuple(table for table in MODULE_TABLES if not (sharded and table == "_parameters"))
        self.modules: list[nn.Module] = []
        self.tensors: list[tuple[str, Tensor]] = []
        self._restores: list[tuple[str, Restore]] = []
        self._seen: set[int] = set()
        for name, module in modules:
            self._visit_module(name, module)

    def restores(self) -> Iterator[tuple[str, Restore]]:
        """Name of each item, and what puts it back."""
        yield from self._restores

    def _visit_module(self, name: str, module: nn.Module) -> None:
        if id(module) in self._seen:
            return
        self._seen.add(id(module))
        self.modules.append(module)
        for key, parameter in module._parameters.items():
            if parameter is not None:
                self.tensors.append((f"parameter {_join(name, key)!r}", parameter))
        for key, buffer in module._buffers.items():
            if buffer is not None:
                self.tensors.append((f"buffer {_join(name, key)!r} of {type(module).__name__}", buffer))
        attributes = {key: value for key, value in vars(module).items() if key not in MODULE_TABLES}
        tables = {k: t.copy() for k in self._tables if isinstance(t := vars(module).get(k), (dict, set))}
        what = f"module {name!r}" if name else type(module).__name__
        self._restores.append((what, partial(_restore_module, module, type(module), attributes, tables)))
        if is_scripted(module):
            self._restores.append((what, partial(_restore_scripted, module, scripted_attributes(module))))
        for key, value in attributes.items():
            self._visit(_join(name, key), value)

    def _visit(self, name: str, value: Any) -> None:
        """Take the state of one value that a module reaches, once."""
        if isinstance(value, (str, int, float, bool, type(None))) or id(value) in self._seen:
            return
        if type(value) in _CONTAINERS or isinstance(value, (tuple, SimpleNamespace)):
            self._visit_container(name, value)
        elif isinstance(value, nn.Module):
            for key, module in value.named_modules(prefix=name):
                self._visit_module(key, module)
        elif isinstance(value, Tensor):
            self._seen.add(id(value))
            self.tensors.append((f"tensor {name!r}", value))
        elif isinstance(value, np.ndarray):
            self._seen.add(id(value))
            if value.size <= _MOST_ARRAY_ELEMENTS and not value.dtype.hasobject:
                self._restores.append((f"array {name!r}", partial(_restore_array, value, value.copy())))
        elif restore := own_generator(value):
            self._seen.add(id(value))
            self._restores.append((f"generator {name!r}", restore))

    def _visit_container(self, name: str, value: Any) -> None:
        self._seen.add(id(value))
        if isinstance(value, SimpleNamespace):
            value = vars(value)
        if not isinstance(value, tuple):
            self._restores.append((f"{type(value).__name__} {name!r}", partial(_refill, value, value.copy())))
        if len(value) <= _MOST_ENTRIES:
            entries = value.items() if isinstance(value, dict) else enumerate(value)
            for key, entry in list(entries):
                self._visit(f"{name}[{key!r}]", entry)


def _join(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _restore_module(module: nn.Module, kind: type, attributes: dict[str, Any], tables: dict[str, Any]) -> None:
    if type(module) is not kind:  # torch's parametrisations give a module a class of its own
        module.__class__ = kind
    now = vars(module)
    for key in [key for key in now if key not in MODULE_TABLES and key not in attributes]:
        del now[key]
    for key, value in attributes.items():
        if now.get(key, _MISSING) is not value:
            now[key] = value
    for key, content in tables.items():
        _refill(now[key], content)


def _restore_scripted(module: nn.Module, values: dict[str, Any]) -> None:
    for key, value in values.items():
        if getattr(module, key) != value:
            setattr(module, key, value)


def _restore_array(array: np.ndarray[Any, Any], copy: np.ndarray[Any, Any]) -> None:
    if array.shape != copy.shape or array.tobytes() != copy.tobytes():
        array[...] = copy


def _refill(container: Any, content: Any) -> None:
    """Give a list, deque, dict or set its old content (and order) back, touching it only where it differs."""
    if isinstance(container, (list, deque)):
        if len(container) != len(content) or any(a is not b for a, b in zip(container, content, strict=True)):
            container.clear()
            container.extend(content)
    elif isinstance(container, dict):
        if list(container) != list(content) or any(container[key] is not value for key, value in content.items()):
            container.clear()
            for key, value in content.items():  # not update(): a Counter's adds up
                container[key] = value
    elif container != content:
        container.clear()
        container.update(content)
