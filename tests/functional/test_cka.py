"""Linear CKA against a literal float64 transcription of the formulas, and where it must be undefined or refuse."""

import math

import pytest
import torch
from torch import Tensor

from lightning_layerscope.functional import (
    centered_gram,
    cka_from_grams,
    cka_layer_matrix,
    cka_permutation_pvalue,
    linear_cka,
    prepare_gram,
    robust_gram,
    robust_transform,
    spectrum_diagnostics,
    undefined_reasons,
)

ESTIMATORS = ("debiased", "biased")


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def literal_hsic(k: Tensor, other: Tensor, estimator: str) -> Tensor:
    """Gretton et al. 2005 (biased) and Song et al. 2012, equation 5 (debiased), from uncentred kernels."""
    n = len(k)
    if estimator == "biased":
        h = torch.eye(n, dtype=torch.float64) - 1 / n
        return torch.trace(k @ h @ other @ h)
    k, other = k.clone().fill_diagonal_(0), other.clone().fill_diagonal_(0)
    pairs = k.sum() * other.sum() / ((n - 1) * (n - 2))
    return (torch.trace(k @ other) + pairs - 2 / (n - 2) * (k @ other).sum()) / (n * (n - 3))


def literal_cka(x: Tensor, y: Tensor, estimator: str) -> Tensor:
    x, y = x.double(), y.double()
    # CKA does not change under a translation; a float64 kernel of the raw states would lose digits to the offset.
    x, y = x - x.mean(0), y - y.mean(0)
    k, other = x @ x.T, y @ y.T
    own = literal_hsic(k, k, estimator) * literal_hsic(other, other, estimator)
    return literal_hsic(k, other, estimator) / own.sqrt()


def paper_cka(x: Tensor, y: Tensor) -> Tensor:
    """The paper's formula: feature space, biased."""
    x, y = x.double() - x.double().mean(0), y.double() - y.double().mean(0)
    return (y.T @ x).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm())


def massive(n: int, width: int, offset: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two related states with two dimensions that are a thousand times larger and far from zero, as LLMs have."""
    x = torch.randn(n, width, generator=generator, dtype=torch.float64) / torch.arange(1, width + 1).sqrt()
    y = 0.7 * x + 0.5 * torch.randn(n, width, generator=generator, dtype=torch.float64)
    for side in (x, y):
        side[:, 3] = 1000 * (side[:, 3] + offset)
        side[:, 7] = 1000 * (side[:, 7] - offset)
    return x, y


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    ("n", "width_x", "width_y"), [(20, 50, 30), (60, 10, 7), (300, 12, 12), (30, 30, 200), (6, 3, 3)]
)
def test_equals_the_literal_formula(
    n: int, width_x: int, width_y: int, estimator: str, generator: torch.Generator
) -> None:
    x = torch.randn(2, 3, n, width_x, generator=generator)
    y = torch.randn(2, 3, n, width_y, generator=generator) + 2 * x[..., :1] + 7
    expected = torch.stack(
        [literal_cka(a, b, estimator) for a, b in zip(x.flatten(0, 1), y.flatten(0, 1), strict=True)]
    )
    found = linear_cka(x, y, estimator)
    assert found.shape == (2, 3)
    assert found.dtype == torch.float64
    assert torch.allclose(found.flatten(), expected, rtol=1e-6, atol=1e-7)
    assert torch.allclose(linear_cka(x.double(), y.double(), estimator).flatten(), expected, rtol=1e-11, atol=1e-12)
    assert torch.equal(linear_cka(x[0, 1], y[0, 1], estimator), found[0, 1])
    from_grams = cka_from_grams(prepare_gram(centered_gram(x)), centered_gram(y), estimator)
    assert torch.allclose(from_grams.flatten(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("n", "width"), [(40, 90), (90, 20)])
def test_biased_is_the_papers_formula(n: int, width: int, generator: torch.Generator) -> None:
    x = torch.randn(n, width, generator=generator, dtype=torch.float64)
    y = x + torch.randn(n, width, generator=generator, dtype=torch.float64)
    assert torch.allclose(linear_cka(x, y, "biased"), paper_cka(x, y), rtol=1e-12)


def test_independent_features_read_zero_debiased_and_one_biased(generator: torch.Generator) -> None:
    x, y = torch.randn(2, 100, 4096, generator=generator)
    assert abs(float(linear_cka(x, y))) < 0.03
    assert float(linear_cka(x, y, "biased")) > 0.9


@pytest.mark.parametrize(
    ("offset", "dtype"),
    [
        *((float(10**i if i else 0), torch.float32) for i in range(4)),
        *((o, torch.bfloat16) for o in (0.0, 10.0, 100.0)),
    ],
)
@pytest.mark.parametrize("shape", [(128, 512), (256, 64)])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_massive_dimensions_keep_five_digits(
    estimator: str, shape: tuple[int, int], offset: float, dtype: torch.dtype, generator: torch.Generator
) -> None:
    x, y = (side.to(dtype) for side in massive(*shape, offset, generator))
    # Against float64 on the same, already rounded numbers.
    expected = literal_cka(x, y, estimator)
    assert torch.allclose(linear_cka(x.double(), y.double(), estimator), expected, rtol=0, atol=1e-9)
    assert abs(float(linear_cka(x, y, estimator) - expected)) < 1e-5
    assert abs(float(cka_from_grams(centered_gram(x), centered_gram(y), estimator) - expected)) < 1e-5


def test_states_that_lost_their_digits_say_so(generator: torch.Generator) -> None:
    # With a mean two thousand deviations away bfloat16 keeps nothing of the two dimensions.
    x, _ = massive(256, 64, 1000.0, generator)
    said = [
        any("rounding" in line for line in spectrum_diagnostics(x.to(t)).warnings[0])
        for t in (torch.float32, torch.bfloat16)
    ]
    assert said == [False, True]
    # A cast does not bring the digits back, nor hide that they are gone.
    assert any("rounding" in line for line in spectrum_diagnostics(x.bfloat16().float()).warnings[0])


@pytest.mark.parametrize("shape", [(64, 100), (128, 20)])
@pytest.mark.parametrize("size", [10.0, 1e3, 1e4])
def test_one_huge_example_costs_no_digits(size: float, shape: tuple[int, int], generator: torch.Generator) -> None:
    x, y = torch.randn(2, *shape, generator=generator)
    y += x
    x[5] *= size
    expected = linear_cka(x.double(), y.double())
    assert abs(float(linear_cka(x, y) - expected)) < 1e-5


def test_four_examples_are_enough(generator: torch.Generator) -> None:
    x, y = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    for estimator in ESTIMATORS:
        assert torch.allclose(linear_cka(x, y, estimator), literal_cka(x, y, estimator), rtol=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_layer_matrix_is_every_pair(estimator: str, generator: torch.Generator) -> None:
    x, y = torch.randn(3, 80, 20, generator=generator), torch.randn(4, 80, 31, generator=generator)
    y[:3] += x[..., :1]
    k, other = centered_gram(x), centered_gram(y)
    expected = torch.stack([torch.stack([literal_cka(a, b, estimator) for b in y]) for a in x])
    assert torch.allclose(cka_layer_matrix(k, other, estimator), expected, rtol=0, atol=1e-6)
    assert torch.allclose(cka_layer_matrix(prepare_gram(k), other, estimator), expected, rtol=0, atol=1e-6)
    square = cka_layer_matrix(k, k, estimator)
    assert torch.allclose(square, cka_layer_matrix(k, k.clone(), estimator), atol=1e-6)
    assert (square.diagonal() - 1).abs().max() < 1e-12
    assert (square - square.mT).abs().max() < 1e-6


def test_layer_matrix_in_several_chunks(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    k = centered_gram(torch.randn(3, 50, 9, generator=generator))
    whole = cka_layer_matrix(k, k)
    monkeypatch.setattr("lightning_layerscope.functional.layer_matrix.CHUNK", 7 * 50)
    assert torch.allclose(cka_layer_matrix(k, k), whole, rtol=0, atol=1e-7)


@pytest.mark.parametrize("shape", [(24, 40), (80, 6)])
def test_undefined_is_nan_with_a_reason(shape: tuple[int, int], generator: torch.Generator) -> None:
    x = torch.randn(3, *shape, generator=generator)
    y = torch.randn(3, *shape, generator=generator)
    y[1] = 0.1
    values = linear_cka(x, y)
    assert torch.isnan(values).tolist() == [False, True, False]
    k, other = centered_gram(x), centered_gram(y)
    assert undefined_reasons(k, other) == ["", "zero variance in l", ""]
    assert undefined_reasons(prepare_gram(other), k) == ["", "zero variance in k", ""]
    matrix = cka_layer_matrix(k, other)
    assert torch.isnan(matrix).any(0).tolist() == [False, True, False]


def test_examples_that_are_all_equally_far_apart_have_no_pattern(generator: torch.Generator) -> None:
    simplex, x = torch.eye(12), torch.randn(12, 5, generator=generator)
    assert math.isnan(float(linear_cka(simplex, x)))
    assert float(linear_cka(simplex, x, "biased")) > 0
    k, other = centered_gram(simplex), centered_gram(x)
    assert undefined_reasons(k, other) == ["non-positive self-similarity in k"]
    assert undefined_reasons(k, other, "biased") == [""]
    assert torch.isnan(cka_layer_matrix(torch.stack([k, other]), other[None])).flatten().tolist() == [True, False]


def test_a_non_finite_gram_is_undefined_and_named(generator: torch.Generator) -> None:
    k = centered_gram(torch.randn(2, 6, 3, generator=generator))
    broken = k.clone()
    broken[1, 2, 2] = torch.nan
    assert torch.isnan(cka_from_grams(k, broken)).tolist() == [False, True]
    assert undefined_reasons(k, broken) == ["", "non-finite Gram matrix of l"]


def test_values_are_not_clamped(generator: torch.Generator) -> None:
    x, y = torch.randn(200, 8, 40, generator=generator), torch.randn(200, 8, 40, generator=generator)
    values = linear_cka(x, y)
    assert (values < 0).float().mean() > 0.3


def test_half_precision_overflow_is_no_false_alarm() -> None:
    x = torch.full((64, 64), 60000.0, dtype=torch.float16) * torch.linspace(0.5, 1, 64)[:, None].half()
    y = x.flip(1) * torch.linspace(0.5, 1, 64).half()
    assert torch.isfinite(linear_cka(x, y))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.zeros(5, 2), torch.zeros(6, 2), "same examples row by row, got 5 and 6 rows"),
        (torch.zeros(3, 2), torch.zeros(3, 2), "3 examples .* at least 4"),
        (torch.zeros(2, 5, 2), torch.zeros(3, 5, 2), r"same leading [\s\S]* `cka_layer_matrix`"),
        (torch.zeros(5, 2), torch.zeros(5, 2).int(), "`y` must have a floating dtype"),
    ],
)
def test_sides_that_do_not_fit_are_refused(x: Tensor, y: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        linear_cka(x, y)


def test_non_finite_rows_are_named_with_their_side(generator: torch.Generator) -> None:
    x, y = torch.randn(2, 20, 4, generator=generator)
    y[3, 1], y[17, 0] = torch.inf, torch.nan
    with pytest.raises(ValueError, match=r"`y` holds non-finite values .* rows 3, 17;"):
        linear_cka(x, y)
    y[:] = torch.nan
    with pytest.raises(ValueError, match=r"rows 0, 1, 2, 3, 4, 5, 6, 7, \.\.\. \(20 in all\)"):
        linear_cka(x, y)


def test_infinities_that_cancel_are_found() -> None:
    x = torch.zeros(6, 2)
    x[0, 0], x[1, 0] = torch.inf, -torch.inf
    with pytest.raises(ValueError, match="rows 0, 1;"):
        linear_cka(x, torch.eye(6))


def test_bad_options_are_refused(generator: torch.Generator) -> None:
    k = centered_gram(torch.randn(6, 3, generator=generator))
    with pytest.raises(ValueError, match="'debiased' or 'biased', got 'unbiased'"):
        linear_cka(torch.zeros(5, 2), torch.zeros(5, 2), estimator="unbiased")
    with pytest.raises(ValueError, match="same layers and examples"):
        cka_from_grams(k, k[:5, :5])
    with pytest.raises(ValueError, match=r"shape \(layers, examples, examples\)"):
        cka_layer_matrix(k, k)
    with pytest.raises(ValueError, match="same examples, got 6 and 5"):
        cka_layer_matrix(k[None], k[None, :5, :5])
    with pytest.raises(ValueError, match="at least 1, got 0"):
        cka_permutation_pvalue(k, k, permutations=0)


def test_robust_value_ignores_one_dimension_and_one_example(generator: torch.Generator) -> None:
    x, y = torch.randn(2, 256, 64, generator=generator)
    y += x
    honest = float(linear_cka(x, y))
    loud = torch.randn(256, generator=generator)
    x[:, 0], y[:, 0] = 1000 * loud, 1000 * loud
    assert float(linear_cka(x, y)) > 0.99
    robust = float(cka_from_grams(robust_gram(x), robust_gram(y)))
    assert abs(robust - honest) < 0.1
    x[:3] *= 20
    y[:3] *= 20
    assert abs(float(linear_cka(robust_transform(x), robust_transform(y))) - honest) < 0.15


def test_robust_transform_by_its_definition(generator: torch.Generator) -> None:
    x = torch.randn(2, 30, 6, generator=generator, dtype=torch.float64) * 5 + 3
    x[0, :, 2] = 0.3
    z = (x - x.mean(1, keepdim=True)) / x.std(1, correction=0, keepdim=True)
    z[0, :, 2] = 0
    assert torch.allclose(robust_transform(x), z / z.norm(dim=-1, keepdim=True), atol=1e-12)
    assert not robust_transform(torch.ones(5, 3)).any()
    assert robust_transform(x.bfloat16()).dtype == torch.float32
