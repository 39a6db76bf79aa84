"""Matrix products: full float32 whatever the caller's settings, symmetric work done once, sums in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from lightning_layerscope.compat.torch import product_backends, reduces_products

#: On the CPU, symmetric products are split into halves down to this dimension, then into bands of the next one: half
#: the operations, and such tall blocks run no slower. Elsewhere large single products are faster.
HALVES, BAND = 256, 64
#: Entries converted to float64 at a time, so that they stay in the cache (CPU) or small beside the inputs (elsewhere).
CPU_BLOCK, DEVICE_BLOCK = 2**16, 2**24


@contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """No autocast, no TF32 and no bfloat16 inside float32 products; the caller's settings come back afterwards.

    ``torch.set_float32_matmul_precision("medium")`` is common in training scripts and would cost three digits here.
    """
    restore = _full_precision()
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        restore()


def _full_precision() -> Callable[[], None]:
    """Ask for full float32 products; returns what puts the caller's settings back."""
    if backends := product_backends():
        # Putting back what the older call answers would touch all where the caller touched one (allow_tf32).
        reduced = [(backend, backend.fp32_precision) for backend in backends if reduces_products(backend)]
        for backend, _ in reduced:
            backend.fp32_precision = "ieee"

        def restore() -> None:
            for backend, precision in reduced:
                backend.fp32_precision = precision

        return restore
    before = torch.get_float32_matmul_precision()
    if before == "highest":
        return lambda: None
    torch.set_float32_matmul_precision("highest")
    return lambda: torch.set_float32_matmul_precision(before)


def symmetric_product(x: Tensor, out: Tensor, mirror: bool = True) -> Tensor:
    """Write ``x @ x.T`` of ``(m, d)`` into ``out (m, m)``; on the CPU at half the operations.

    Without ``mirror`` what is above the diagonal bands of ``out`` may be left undefined.
    """
    if x.device.type != "cpu":
        return torch.mm(x, x.mT, out=out)
    size = x.shape[0]
    if size > HALVES:
        half = -(-size // (2 * HALVES)) * HALVES
        symmetric_product(x[:half], out[:half, :half], mirror)
        symmetric_product(x[half:], out[half:, half:], mirror)
        torch.mm(x[half:], x[:half].mT, out=out[half:, :half])
        if mirror:
            out[:half, half:].copy_(out[half:, :half].mT)
        return out
    for start in range(0, size, BAND):
        stop = min(start + BAND, size)
        torch.mm(x[start:stop], x[:stop].mT, out=out[start:stop, :stop])
        if mirror and start:
            out[:start, start:stop].copy_(out[start:stop, :start].mT)
    return out


def symmetric_norm(x: Tensor, buffer: Tensor) -> Tensor:
    """``||x @ x.T||_F^2`` of ``(m, d)`` in float64, from the lower triangle; ``buffer (m, m)`` is overwritten."""
    symmetric_product(x, buffer, mirror=False)
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    height = BAND if x.device.type == "cpu" else x.shape[0]
    for start in range(0, x.shape[0], height):
        band = buffer[start : start + height]
        for block, weight in ((band[:, :start], 2.0), (band[:, start : start + height], 1.0)):
            part = block.double()
            total += weight * torch.linalg.vecdot(part, part).sum()
    return total


def blocks(shape: torch.Size, device: torch.device) -> Iterator[tuple[slice, slice]]:
    """Cut ``(cells, rows, columns)`` into slices of cells and rows that are small enough to convert to float64."""
    cells, rows, columns = shape
    budget = CPU_BLOCK if device.type == "cpu" else DEVICE_BLOCK
    if rows * columns <= budget:
        step = max(1, budget // (rows * columns))
        for start in range(0, cells, step):
            yield slice(start, start + step), slice(0, rows)
        return
    height = max(1, budget // columns)
    for cell in range(cells):
        for start in range(0, rows, height):
            yield slice(cell, cell + 1), slice(start, min(start + height, rows))


def inner_products(k: Tensor, other: Tensor) -> Tensor:
    """Sum of the elementwise product of the last two axes in float64: ``(cells, r, c)`` twice -> ``(cells,)``."""
    total = torch.zeros(k.shape[0], dtype=torch.float64, device=k.device)
    for cell, row in blocks(k.shape, k.device):
        left = k[cell, row].double()
        right = left if k is other else other[cell, row].double()
        total[cell] += torch.linalg.vecdot(left.flatten(1), right.flatten(1))
    return total


def squared_lengths(x: Tensor) -> Tensor:
    """Squared length of every row in float64, ``(m, d) -> (m,)``.

    Converted block by block: reductions that convert on the way are ten times slower on the CPU.
    """
    lengths = torch.empty(x.shape[0], dtype=torch.float64, device=x.device)
    for _, row in blocks(x.unsqueeze(0).shape, x.device):
        part = x[row].double()
        lengths[row] = torch.linalg.vecdot(part, part)
    return lengths
