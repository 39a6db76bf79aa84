"""Centred Gram matrices in a quarter of their bytes: the U-centred upper triangle, and the diagonal.

The U-centred Gram ``A_ij = K_ij + (a_i + a_j) / (n - 2) - sum(a) / ((n - 1)(n - 2))`` (``a`` the diagonal of the
centred ``K``; Szekely & Rizzo 2014) is all that the debiased estimator needs. With the diagonal, ``K`` follows from it,
and with ``K`` the biased estimator and the jackknife. ``A`` has a zero diagonal and is symmetric: its upper triangle is
enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TOP = 32768.0
"""float16 entries are scaled so that the largest is this: small entries then stay clear of its subnormal range."""


@dataclass(frozen=True)
class PackedGrams:
    """Centred Grams of all layers of one task.

    Attributes:
        values: ``(layers, n (n - 1) / 2)`` upper triangle of the U-centred Gram over ``scale``; float32 or float16.
        scale: ``(layers,)`` float32.
        diagonal: ``(layers, n)`` float32 diagonal of the centred Gram.
    """

    values: Tensor
    scale: Tensor
    diagonal: Tensor

    @property
    def examples(self) -> int:
        """Number of examples, n."""
        return self.diagonal.shape[-1]

    def tensors(self) -> dict[str, Tensor]:
        """The parts by name."""
        return {"values": self.values, "scale": self.scale, "diagonal": self.diagonal}

    def to(self, dtype: torch.dtype) -> PackedGrams:
        """The same with entries in another dtype; float16 is scaled per layer to use its range."""
        if self.values.dtype == dtype:
            return self
        plain = self.values.float() * self.scale[:, None]
        if dtype == torch.float32:
            return PackedGrams(plain, torch.ones_like(self.scale), self.diagonal)
        top = plain.abs().amax(dim=1) / TOP if plain.shape[1] else torch.ones_like(self.scale)
        scale = torch.where(top > 0, top, torch.ones_like(top))
        return PackedGrams((plain / scale[:, None]).to(dtype), scale, self.diagonal)


Stored = PackedGrams | Tensor
"""What a bank keeps of one task: packed Grams, or features ``(layers, n, width)``."""


def pack(grams: Tensor) -> PackedGrams:
    """Pack centred Grams ``(layers, n, n)``, n at least 4, in float32."""
    n = grams.shape[-1]
    diagonal = grams.diagonal(dim1=-2, dim2=-1).float().contiguous()
    rows, columns = torch.triu_indices(n, n, offset=1, device=grams.device)
    values = grams[:, rows, columns].float()
    a = diagonal.double()
    share, level = (a / (n - 2)).float(), (a.sum(dim=1) / ((n - 1) * (n - 2))).float()
    values += share[:, rows]
    values += share[:, columns]
    values -= level[:, None]
    return PackedGrams(values, torch.ones(len(values), dtype=torch.float32, device=grams.device), diagonal)


def unpack(packed: PackedGrams) -> Tensor:
    """Centred Grams ``(layers, n, n)`` float32.

    Rounding to float16 leaves the rows of ``A`` with small sums; they are removed (a projection), so that what comes
    back is exactly of the form that the closed formulas for centred Grams assume.
    """
    n = packed.examples
    rows, columns = torch.triu_indices(n, n, offset=1, device=packed.values.device)
    square = packed.diagonal.new_zeros(len(packed.values), n, n)
    square[:, rows, columns] = packed.values.float() * packed.scale[:, None]
    square += square.mT.clone()
    sums = square.sum(dim=2, dtype=torch.float64)
    a = packed.diagonal.double()
    # U-centring of A and the way back from A to K are of one form: subtract (u_i + u_j) / (n - 2) - sum(u) /
    # ((n-1)(n-2)).
    both = sums + a
    share, level = (both / (n - 2)).float(), (both.sum(dim=1) / ((n - 1) * (n - 2))).float()
    square -= share[:, :, None]
    square -= share[:, None, :]
    square += level[:, None, None]
    square.diagonal(dim1=-2, dim2=-1).copy_(packed.diagonal)
    return square
