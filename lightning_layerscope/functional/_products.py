"""Matrix products: full float32 whatever the caller's settings, symmetric work done once, sums in float64."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

#: From this dimension on, a symmetric product pays to be split; below, the smaller products run too slowly.
SPLIT_FROM = 2048
#: Blocks of this dimension are not split further.
LEAF = 256
#: Entries converted to float64 at a time, so that they stay in the cache (CPU) or small beside the inputs (elsewhere).
CPU_BLOCK, DEVICE_BLOCK = 2**17, 2**24


@contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """No autocast, no TF32 and no bfloat16 inside float32 products; the caller's settings come back afterwards.

    ``torch.set_float32_matmul_precision("medium")`` is common in training scripts and would cost three digits here.
    """
    before = torch.get_float32_matmul_precision()
    if before != "highest":
        torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        if before != "highest":
            torch.set_float32_matmul_precision(before)


def symmetric_product(x: Tensor, out: Tensor) -> Tensor:
    """Write ``x @ x.T`` of ``(m, d)`` into ``out (m, m)``, exactly symmetric; large ones at half the operations."""
    if x.shape[0] < SPLIT_FROM:
        return torch.mm(x, x.mT, out=out)
    _lower_product(x, out)
    return out


def _lower_product(x: Tensor, out: Tensor) -> None:
    size = x.shape[0]
    if size <= LEAF:
        torch.mm(x, x.mT, out=out)
        return
    # Halves rounded up to a multiple of the leaf keep all blocks aligned.
    half = -(-size // (2 * LEAF)) * LEAF
    _lower_product(x[:half], out[:half, :half])
    _lower_product(x[half:], out[half:, half:])
    torch.mm(x[half:], x[:half].mT, out=out[half:, :half])
    out[:half, half:].copy_(out[half:, :half].mT)


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
