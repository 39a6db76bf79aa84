"""The values of a model's tensors before and after: put back where a clone was taken, told where they changed."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lightning_layerscope.compat.torch import inner_tensors, version
from lightning_layerscope.extraction.checksum import checksum, differing

# A changed tensor is put back from a clone taken beforehand; beyond this many elements the clone would cost more memory
# than a probe may take, so a change is reported instead. (Real buffers are small: inv_freq, position ids, norm
# statistics.) Parameters are never cloned.
_CLONE_LIMIT = 1_000_000


@dataclass
class TensorStates:
    """Tensors with what tells whether they changed and, where it is small, what puts them back.

    Take it without gradients and outside inference mode.
    """

    names: list[str] = field(default_factory=list)
    _tensors: list[Tensor] = field(default_factory=list)
    _aliases: list[Tensor | None] = field(default_factory=list)
    _clones: list[Tensor | None] = field(default_factory=list)
    _bytes: list[int] = field(default_factory=list)
    _versions: list[int] = field(default_factory=list)
    _checksums: list[Tensor | None] = field(default_factory=list)
    _seen: set[int] = field(default_factory=set)

    def add(self, name: str, tensor: Tensor) -> None:
        """Remember a tensor's memory, shape and value; the second time does nothing."""
        if id(tensor) in self._seen:
            return
        self._seen.add(id(tensor))
        lazy = is_lazy(tensor)
        clonable = not (isinstance(tensor, nn.Parameter) or lazy or tensor.is_meta) and tensor.numel() <= _CLONE_LIMIT
        self.names.append(name)
        self._tensors.append(tensor)
        # Shares the memory and keeps the shape, also when the tensor itself is given others.
        self._aliases.append(None if lazy else tensor.data)
        self._clones.append(tensor.data.clone() if clonable else None)
        self._bytes.append(_storage_bytes(tensor))
        self._versions.append(version(tensor))
        self._checksums.append(checksum(tensor))

    def restore_memory(self, position: int) -> str:
        """Give one tensor the memory and shape that it had; returns what could not be undone, in words."""
        tensor, alias = self._tensors[position], self._aliases[position]
        if alias is None:
            return "" if is_lazy(tensor) else f"{self.names[position]} was initialised"
        if self._bytes[position] > _storage_bytes(alias):
            alias.untyped_storage().resize_(self._bytes[position])  # its content is lost, and found changed
        if _geometry(tensor) != _geometry(alias):
            tensor.data = alias
        return ""

    def changed(self) -> list[int]:
        """Positions of the tensors whose value is another one than before."""
        now = [checksum(tensor) for tensor in self._tensors]
        unreadable = {
            i
            for i, (tensor, value) in enumerate(zip(self._tensors, now, strict=True))
            if value is None and version(tensor) != self._versions[i]
        }
        return sorted(differing(self._checksums, now) | unreadable)

    def restore_value(self, position: int) -> str:
        """Give one tensor its old value; returns what could not be undone, in words."""
        tensor, clone = self._tensors[position], self._clones[position]
        if clone is None:
            size = "" if isinstance(tensor, nn.Parameter) else f" ({tensor.numel():,} elements)"
            return f"{self.names[position]}{size} was changed in place"
        # Through .data: the value is the one that a graph may have saved, so its version must not be raised.
        with torch.inference_mode(tensor.is_inference()):
            tensor.data.copy_(clone)
        return ""

    def __len__(self) -> int:
        return len(self.names)


def _geometry(tensor: Tensor) -> tuple[object, ...]:
    memory = (tensor.data_ptr(), tensor.stride()) if _has_storage(tensor) else None
    return memory, tensor.shape, tensor.dtype, tensor.device


def _storage_bytes(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes() if _has_storage(tensor) else 0


def _has_storage(tensor: Tensor) -> bool:
    plain = not is_lazy(tensor) and inner_tensors(tensor) is None
    return plain and tensor.layout == torch.strided and not tensor.is_meta
