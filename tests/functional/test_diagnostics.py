"""Diagnostics against their definitions; warnings appear where they must, and only there."""

import pytest
import torch
from torch import Tensor

from lightning_layerscope.functional import centered_gram, components_for_variance, spectrum_diagnostics


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def spectrum(x: Tensor) -> Tensor:
    x = x.double() - x.double().mean(0)
    return torch.linalg.eigvalsh(x.T @ x)


@pytest.mark.parametrize("shape", [(40, 12), (20, 90)])
def test_equal_their_definitions(shape: tuple[int, int], generator: torch.Generator) -> None:
    x = torch.randn(3, *shape, generator=generator) * torch.arange(1, shape[1] + 1).pow(-0.7) + 5
    found = spectrum_diagnostics(x)
    for i, cell in enumerate(x):
        values = spectrum(cell)
        variances = cell.double().var(0)
        assert float(found.participation_ratio[i]) == pytest.approx(
            float(values.sum() ** 2 / values.square().sum()), rel=1e-5
        )
        assert float(found.effective_directions[i]) == pytest.approx(
            float(values.square().sum() ** 2 / values.pow(4).sum()), rel=1e-5
        )
        assert float(found.top_component_share[i]) == pytest.approx(float(values.max() / values.sum()), rel=1e-3)
        assert float(found.top_dimension_share[i]) == pytest.approx(float(variances.max() / variances.sum()), rel=1e-5)
    assert torch.equal(found.components_99, components_for_variance(x))
    again = spectrum_diagnostics(x, centered_gram(x))
    assert torch.equal(again.top_component_share, found.top_component_share)


def test_counts_of_many_examples_are_those_of_the_first(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(2, 60, 90, generator=generator) * torch.arange(1, 91).pow(-1.5)
    monkeypatch.setattr("lightning_layerscope.functional.diagnostics.DIRECT", 40)
    found, first = spectrum_diagnostics(x), spectrum_diagnostics(x[:, :40])
    assert torch.equal(found.components_99, first.components_99)
    assert torch.allclose(found.effective_directions, first.effective_directions, rtol=1e-5)
    assert not torch.allclose(found.participation_ratio, first.participation_ratio, rtol=1e-2)


@pytest.mark.parametrize("gap", [1.0, 1.001, 1.5])
def test_power_iteration_finds_the_largest_eigenvalue(
    gap: float, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    basis = torch.linalg.qr(torch.randn(50, 50, generator=generator, dtype=torch.float64)).Q
    x = basis * torch.tensor([gap] + [1.0] * 3 + [0.9] * 46).sqrt()
    direct = spectrum_diagnostics(x).top_component_share
    monkeypatch.setattr("lightning_layerscope.functional.diagnostics.DIRECT", 0)
    assert float(spectrum_diagnostics(x).top_component_share) == pytest.approx(float(direct), rel=5e-3)
    assert torch.isnan(spectrum_diagnostics(torch.ones(6, 3)).top_component_share)


def test_nothing_to_warn_of(generator: torch.Generator) -> None:
    x = torch.randn(2, 128, 64, generator=generator) + 3
    for dtype in (torch.float32, torch.bfloat16):
        assert spectrum_diagnostics(x.to(dtype)).warnings == [[], []]


def test_each_trouble_is_named_in_words(generator: torch.Generator) -> None:
    x = torch.randn(4, 128, 64, generator=generator)
    x[0, :, 9] *= 5
    x[1] += 10 * torch.randn(128, 1, generator=generator)
    x[2, :, 0] += 5000
    x[3] = 2.5
    loud, common, offset, constant = spectrum_diagnostics(x.bfloat16()).warnings
    assert loud[0].startswith("one dimension (9) holds ")
    # The other side, and with it the robust value, is not known here: compare shows it.
    assert not any("robust" in line or "beside" in line for lines in (loud, common, offset) for line in lines)
    assert not any("dimension" in line for line in common)
    assert common[0].startswith("one principal component holds ")
    assert any(line.startswith("1.0 effective directions decide CKA") for line in common)
    assert len(offset) >= 1
    assert "rounding of the stored numbers" in offset[-1]
    assert constant == ["all examples are equal: similarity is undefined"]
    assert torch.isnan(spectrum_diagnostics(x[3]).participation_ratio)


def test_one_direction_that_decides_cka_is_warned_of_where_its_share_is_unremarkable(
    generator: torch.Generator,
) -> None:
    shares = {}
    for share in (0.02, 0.05, 0.1):
        x = torch.randn(256, 1024, generator=generator, dtype=torch.float64)
        x[:, 0] *= (share * 1023 / (1 - share)) ** 0.5
        found = spectrum_diagnostics(x)
        shares[share] = found
        assert float(found.top_component_share) < 0.2
        assert float(found.participation_ratio) > 4
    assert shares[0.02].warnings == [[]]
    assert float(shares[0.02].effective_directions) > 4 > float(shares[0.1].effective_directions)
    assert any("effective directions decide CKA" in line for line in shares[0.1].warnings[0])


def test_effective_directions_of_many_examples_are_those_of_some_of_them(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(600, 40, generator=generator, dtype=torch.float64) * torch.arange(1, 41).pow(-0.7)
    some = float(spectrum_diagnostics(x).effective_directions)
    monkeypatch.setattr("lightning_layerscope.functional.diagnostics.DIRECT", 1000)
    assert some == pytest.approx(float(spectrum_diagnostics(x).effective_directions), rel=0.15)


def test_rounding_share_is_the_variance_that_rounding_adds(generator: torch.Generator) -> None:
    # A mean spread over more than one power of two, as the estimate assumes.
    x = torch.randn(512, 256, generator=generator, dtype=torch.float64)
    x += 50 * 2 ** torch.rand(256, generator=generator, dtype=torch.float64)
    rounded = x.bfloat16()
    added = (rounded.double() - x).var(0).sum() / x.var(0).sum()
    assert float(spectrum_diagnostics(rounded).rounding_share) == pytest.approx(float(added), rel=0.2)
    assert float(spectrum_diagnostics(rounded.float()).rounding_share) == pytest.approx(float(added), rel=0.2)
    assert float(spectrum_diagnostics(x.float()).rounding_share) < 1e-8


def test_malformed_input_is_refused(generator: torch.Generator) -> None:
    x = torch.randn(10, 4, generator=generator)
    with pytest.raises(ValueError, match=r"`gram` must have shape \(10, 10\) .* got \(9, 9\)"):
        spectrum_diagnostics(x, centered_gram(x[:9]))
    with pytest.raises(ValueError, match="at least 4"):
        spectrum_diagnostics(x[:3])
