"""What the measures other than linear CKA share: labels, one cell (layer) at a time in float64, distances, spectra.

These measures work on small matrices (examples by examples), so float64 throughout is affordable and leaves no rounding
question open. Working cell by cell bounds the memory: one layer in float64 at a time, never all of them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: What lies below this share of the size it was computed from is rounding.
ROUNDING = 64 * torch.finfo(torch.float64).eps


def check_labels(x: Tensor, labels: Tensor, *, smallest: int, measure: str) -> tuple[Tensor, Tensor]:
    """Check task labels against ``x`` and return them as codes 0..tasks-1 with the number of examples per task."""
    if labels.ndim != 1 or labels.shape[0] != x.shape[-2] or labels.is_floating_point() or labels.is_complex():
        raise ValueError(
            f"{measure}: expected one integer task label per example, shape ({x.shape[-2]},), got "
            f"{labels.dtype} of shape {tuple(labels.shape)}."
        )
    _, codes, counts = torch.unique(labels.to(x.device), return_inverse=True, return_counts=True)
    if counts.numel() < 2:
        raise ValueError(f"{measure} compares tasks with one another and needs at least two, got {counts.numel()}.")
    if int(counts.min()) < smallest:
        raise ValueError(
            f"{measure} needs at least {smallest} examples of every task; the smallest task has {int(counts.min())}."
        )
    return codes, counts


def over_cells(compute: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Apply ``compute`` to every cell ``(examples, width)`` in float64 and give back the leading axes."""
    leading = tensors[0].shape[:-2]
    if leading.numel() == 0:
        raise ValueError(f"Expected at least one layer, got shape {tuple(tensors[0].shape)}.")
    flat = [tensor.detach().reshape(-1, *tensor.shape[-2:]) for tensor in tensors]
    values = [compute(*(tensor.double() for tensor in cell)) for cell in zip(*flat, strict=True)]
    return torch.stack(values).reshape(leading + values[0].shape)


def squared_distances(k: Tensor) -> Tensor:
    """Squared Euclidean distances from a centred Gram matrix, exactly zero on the diagonal, symmetric.

    Centring comes first because ``|a|^2 + |b|^2 - 2ab`` loses everything to a large common offset.
    """
    norms = k.diagonal(dim1=-2, dim2=-1)
    squared = norms.unsqueeze(-1) + norms.unsqueeze(-2) - 2 * k
    # Rounding leaves two equal rows at about 1e-16 of their norm on either side of zero; a distance cannot be negative.
    squared = torch.where(squared > ROUNDING * norms.amax(), squared, torch.zeros_like(squared))
    squared.diagonal(dim1=-2, dim2=-1).zero_()
    return squared


def off_diagonal(m: Tensor) -> Tensor:
    """The entries above the diagonal of a symmetric matrix, each pair once."""
    rows, columns = torch.triu_indices(m.shape[-1], m.shape[-1], offset=1, device=m.device)
    return m[..., rows, columns]


def principal_axes(k: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (descending, numerically positive ones only) and eigenvectors of one centred Gram matrix."""
    values, vectors = torch.linalg.eigh(k)
    values, vectors = values.flip(-1), vectors.flip(-1)
    keep = values > values[..., :1].abs() * k.shape[-1] * torch.finfo(k.dtype).eps
    return values[keep], vectors[:, keep]


def nan_like(k: Tensor) -> Tensor:
    """The undefined value."""
    return torch.full((), torch.nan, dtype=torch.float64, device=k.device)
