"""Whether a tensor's bits have changed: a number of 64 bits over its memory, without a copy of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from lightning_layerscope.compat.torch import inner_tensors

# Words of 64 bits that are added up as they lie, at the speed of the memory. Odd, so that flipping the top bit of all
# of them (the sign of float64) does not cancel out.
_SEGMENT = 4095
_STEP = 0x1E3779B97F4A7C15
_MULTIPLIERS = (0xFF51AFD7ED558CCD - (1 << 64), 0xC4CEB9FE1A85EC53 - (1 << 64))  # as signed numbers
_LOW_31_BITS = (1 << 31) - 1  # of a shift by 33 places that brings in zeros


def checksum(tensor: Tensor) -> Tensor | None:
    """An int64 scalar on the tensor's device that every bit of the tensor counts in.

    The memory is read as words of 64 bits. Segments of 4,095 words are added up modulo 2^64; every sum is then mixed
    with its position, and the results are added up. All steps are exact, so equal bits give equal numbers. A change of
    one word always gives another number, and any other change does with a probability of about 1 - 2^-64, unless it
    leaves the sum of a segment as it was, as an exchange of words within one does.

    Returns:
        None where there are no bits to read in this way: on the meta device, in sparse, quantised or uninitialised
        tensors.
    """
    if (inner := inner_tensors(tensor)) is not None:  # a wrapper around other tensors, as DTensor is
        sums = [one for one in map(checksum, inner) if one is not None]
        return _mix(torch.stack(sums)) if sums and len(sums) == len(inner) else None
    if is_lazy(tensor) or tensor.is_meta or tensor.is_quantized or tensor.layout != torch.strided:
        return None
    if tensor.is_conj() or tensor.is_neg():  # the values stand in the memory otherwise than they are read
        tensor = tensor.resolve_conj().resolve_neg()
    data = tensor.detach()
    memory_order = sorted(range(data.ndim), key=lambda axis: -data.stride()[axis])
    raw = data.permute(memory_order).reshape(-1).contiguous().view(torch.uint8)  # a copy only where the memory has gaps
    start = min(-int(raw.storage_offset()) % 8, len(raw))
    words = (len(raw) - start) // 8
    body = raw[start : start + 8 * words].view(torch.int64)
    whole = words // _SEGMENT * _SEGMENT
    edges = torch.cat([raw[:start], raw[start + 8 * words :]]).to(torch.int64)
    return _mix(torch.cat([body[:whole].view(-1, _SEGMENT).sum(1), body[whole:], edges]))


def differing(before: Sequence[Tensor | None], after: Sequence[Tensor | None]) -> set[int]:
    """Positions at which two lists of checksums differ; waits once per device. A None equals nothing but None."""
    different = {i for i, (a, b) in enumerate(zip(before, after, strict=True)) if (a is None) != (b is None)}
    by_device: dict[torch.device, list[tuple[int, Tensor, Tensor]]] = {}
    for i, (a, b) in enumerate(zip(before, after, strict=True)):
        if a is not None and b is not None:
            if a.device == b.device:
                by_device.setdefault(a.device, []).append((i, a, b))
            elif a.item() != b.item():
                different.add(i)
    for entries in by_device.values():
        positions, first, second = zip(*entries, strict=True)
        unequal = (torch.stack(first) != torch.stack(second)).tolist()
        different |= {i for i, is_unequal in zip(positions, unequal, strict=True) if is_unequal}
    return different


def _mix(sums: Tensor) -> Tensor:
    """One number of all sums, in which position and value of each count.

    Each is put through a one-to-one function of 64 bits (the finaliser of MurmurHash3, Appleby 2011) together with its
    position, so that structured changes (all signs turned) do not cancel out, and the results are added up.
    """
    mixed = sums + torch.arange(1, len(sums) + 1, device=sums.device, dtype=torch.int64) * _STEP
    for multiplier in _MULTIPLIERS:
        mixed = (mixed ^ ((mixed >> 33) & _LOW_31_BITS)) * multiplier
    return (mixed ^ ((mixed >> 33) & _LOW_31_BITS)).sum()
