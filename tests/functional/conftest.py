"""Tolerances and planted data for the tests of the measures."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor


@pytest.fixture(scope="session")
def tolerances() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "tolerances.py")))


@pytest.fixture
def related() -> tuple[Tensor, Tensor]:
    """Two layers of two related sides of different widths, more examples than dimensions, uneven spectra, an offset."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 40, 8, generator=generator, dtype=torch.float64) * torch.linspace(3, 0.5, 8) + 4
    y = x[..., :6] @ torch.randn(6, 5, generator=generator, dtype=torch.float64)
    return x, y + 2 * torch.randn(2, 40, 5, generator=generator, dtype=torch.float64)


@pytest.fixture
def wide() -> tuple[Tensor, Tensor]:
    """Fewer examples than dimensions."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 24, 60, generator=generator, dtype=torch.float64)
    return x, x[..., :50].tanh() + 0.3 * torch.randn(2, 24, 50, generator=generator, dtype=torch.float64)


@pytest.fixture
def clustered() -> tuple[Tensor, Tensor]:
    """Two layers of three overlapping tasks of unequal size and their labels."""
    generator = torch.Generator().manual_seed(2)
    labels = torch.tensor([0] * 14 + [1] * 20 + [2] * 11)[torch.randperm(45, generator=generator)]
    means = 1.2 * torch.randn(2, 3, 6, generator=generator, dtype=torch.float64)
    return means[:, labels] + torch.randn(2, 45, 6, generator=generator, dtype=torch.float64), labels
