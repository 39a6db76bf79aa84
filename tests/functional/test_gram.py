"""Centred and U-centred Gram matrices against their definitions, on states as LLMs have them."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from lightning_layerscope.functional import GramStatistics, centered_gram, prepare_gram, u_center
from lightning_layerscope.functional._products import BAND, HALVES, symmetric_norm, symmetric_product
from tests.product_settings import WAYS


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def literal_gram(x: Tensor) -> Tensor:
    x = x.double()
    n = x.shape[-2]
    h = torch.eye(n, dtype=torch.float64) - 1 / n
    return h @ x @ x.mT @ h


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(7, 3), (2, 70, 9), (2, 3, 12, 40)])
def test_equals_the_definition(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> None:
    x = (torch.randn(shape, generator=generator) * 3 + 5).to(dtype)
    k = centered_gram(x)
    assert k.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    expected = literal_gram(x)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    assert (k - expected).abs().max() < tolerance * expected.abs().max()


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e5])
def test_a_large_mean_costs_no_digits(offset: float, generator: torch.Generator) -> None:
    x = torch.randn(64, 32, generator=generator) + offset
    expected = literal_gram(x)
    assert (centered_gram(x) - expected).abs().max() < 1e-6 * expected.abs().max()
    # The shortcut that many implementations take, to show that the offset is hard.
    shortcut = x @ x.mT
    shortcut = shortcut - shortcut.mean(0) - shortcut.mean(1, keepdim=True) + shortcut.mean()
    wrong = (shortcut - expected).abs().max() / expected.abs().max()
    assert offset == 0 or wrong > 1e-4


@pytest.mark.parametrize("value", [0.1, 1e4, -3.3])
def test_equal_examples_give_exact_zeros(value: float) -> None:
    assert not centered_gram(torch.full((60, 11), value)).any()


@pytest.mark.parametrize("size", [1, BAND - 1, BAND + 1, HALVES, HALVES + 1, 2 * HALVES + 3, 5 * HALVES])
def test_symmetric_product_in_bands_is_the_product(size: int, generator: torch.Generator) -> None:
    x = torch.randn(size, 5, generator=generator, dtype=torch.float64)
    out = symmetric_product(x, torch.full((size, size), torch.nan, dtype=torch.float64))
    assert torch.allclose(out, x @ x.mT, rtol=1e-13, atol=1e-13)
    norm = symmetric_norm(x, torch.full((size, size), torch.nan, dtype=torch.float64))
    assert torch.allclose(norm, (x @ x.mT).square().sum(), rtol=1e-13)


SETTINGS = (
    WAYS
    + """
from lightning_layerscope.functional._products import exact_products

def look():
    backends = torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None)
    found = [getattr(backend, "fp32_precision", None) for backend in backends]
    try:
        return [*found, torch.get_float32_matmul_precision()]
    except RuntimeError:
        return [*found, "refused"]

for setting in ways:
    # Each in a process of its own: torch refuses to go back from some of these.
    child = os.fork()
    if child == 0:
        setting()
        before = look()
        with exact_products(torch.device("cpu")):
            inside = look()
        exact = all(p in (None, "none", "ieee") for p in inside[:2])
        good = before != inside and exact and look() == before
        print(setting.__name__, before, inside, look(), flush=True)
        os._exit(0 if good else 1)
    if os.waitpid(child, 0)[1]:
        sys.exit(setting.__name__)
"""
)


def test_products_ignore_reduced_precision_and_leave_it_as_it_was() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", SETTINGS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_products_ignore_autocast(generator: torch.Generator) -> None:
    x = torch.randn(32, 200, generator=generator)
    plain = centered_gram(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (x @ x.mT).dtype == torch.bfloat16
        assert torch.equal(centered_gram(x), plain)


def test_no_gradient_and_the_input_stays(generator: torch.Generator) -> None:
    x = torch.randn(9, 4, generator=generator, requires_grad=True)
    before = x.detach().clone()
    assert not centered_gram(x).requires_grad
    assert torch.equal(x, before)


def test_u_centred_rows_sum_to_zero_and_know_the_literal_formula(generator: torch.Generator) -> None:
    x = torch.randn(3, 10, 4, generator=generator, dtype=torch.float64)
    k = x @ x.mT + 2  # Szekely and Rizzo's definition takes any kernel, also one that is not centred.
    n = 10
    rows = (k - torch.diag_embed(k.diagonal(dim1=-2, dim2=-1))).sum(-1)
    # Their definition works on zero-diagonal distances; -2 K + a 1' + 1 a' turns the kernel into squared distances.
    a = k.diagonal(dim1=-2, dim2=-1)
    d = a[..., None] + a[..., None, :] - 2 * k
    row = d.sum(-1)
    expected = d - row[..., None] / (n - 2) - row[..., None, :] / (n - 2)
    expected = expected + (row.sum(-1) / ((n - 1) * (n - 2)))[..., None, None]
    expected = -0.5 * expected * (1 - torch.eye(n, dtype=torch.float64))
    found = u_center(centered_gram(x))
    assert torch.allclose(found, expected, atol=1e-12)
    assert rows.abs().min() > 0
    assert found.sum(-1).abs().max() < 1e-12


def test_prepared_statistics_can_be_sliced_and_are_not_prepared_twice(generator: torch.Generator) -> None:
    k = centered_gram(torch.randn(4, 12, 5, generator=generator))
    prepared = prepare_gram(k)
    assert isinstance(prepared, GramStatistics)
    assert prepare_gram(prepared) is prepared
    assert prepared.gram.data_ptr() == k.data_ptr()
    part = prepared[1:3]
    assert part.shape == (2, 12, 12)
    assert torch.equal(part.self_term("debiased"), prepared.self_term("debiased")[1:3])
    a = k.double().diagonal(dim1=-2, dim2=-1)
    assert torch.allclose(prepared.off_diagonal, -a, atol=1e-5)
    assert torch.allclose(prepared.self_term("biased"), k.double().square().sum((-1, -2)))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(5), r"shape \(\.\.\., examples, width\), got \(5,\)"),
        (torch.zeros(1, 5), "1 examples .* at least 2"),
        (torch.zeros(5, 0), "no dimensions"),
        (torch.zeros(5, 2, dtype=torch.long), "floating dtype, got torch.int64"),
    ],
)
def test_malformed_states_are_refused(x: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        centered_gram(x)


def test_what_is_no_gram_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match="square Gram matrices"):
        u_center(torch.zeros(4, 5))
    with pytest.raises(ValueError, match="3 examples, but at least 4"):
        u_center(torch.zeros(3, 3))
    with pytest.raises(ValueError, match="floating tensor"):
        prepare_gram(torch.zeros(4, 4, dtype=torch.int32))
    with pytest.raises(TypeError, match="got list"):
        centered_gram([[1.0]])  # type: ignore[arg-type]
