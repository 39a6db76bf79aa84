"""Streaming CKA equals CKA of everything at once, whatever the batches, shifts and processes."""

import pytest
import torch
from torch import Tensor

from lightning_layerscope.functional import (
    StreamingSums,
    cka_from_minibatch_terms,
    linear_cka,
    minibatch_cka,
    minibatch_terms,
    reshift,
    streaming_cka,
)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def states(n: int, offset: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, 24, generator=generator)
    y = x[:, :15] + torch.randn(n, 15, generator=generator)
    x[:, 3] = 1000 * (x[:, 3] + offset)
    y[:, 5] = 1000 * (y[:, 5] - offset)
    return x, y


def stream(x: Tensor, y: Tensor, size: int, shifts: tuple[Tensor, Tensor] | None = None) -> StreamingSums:
    sums = StreamingSums.zeros(x.shape[1], y.shape[1])
    shifts = shifts or (x[:size].float().mean(0), y[:size].float().mean(0))
    for start in range(0, len(x), size):
        sums.update(x[start : start + size], y[start : start + size], *shifts)
    return sums


@pytest.mark.parametrize("estimator", ["debiased", "biased"])
@pytest.mark.parametrize("offset", [0.0, 10.0, 1000.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_is_the_value_of_all_examples_whatever_the_batches(
    dtype: torch.dtype, offset: float, estimator: str, generator: torch.Generator
) -> None:
    if dtype == torch.bfloat16 and offset == 1000:
        offset = 100  # bfloat16 would keep nothing of the two dimensions
    x, y = (side.to(dtype) for side in states(301, offset, generator))
    expected = linear_cka(x.double(), y.double(), estimator)
    for size in (1, 7, 100, 301):
        assert abs(float(streaming_cka(stream(x, y, size), estimator) - expected)) < 1e-6


def test_uncentred_float32_sums_would_not_do(generator: torch.Generator) -> None:
    x, y = states(300, 1000.0, generator)
    exact = linear_cka(x.double(), y.double(), "biased")
    xx, yy, xy = (a.mT @ b - len(a) * torch.outer(a.mean(0), b.mean(0)) for a, b in ((x, x), (y, y), (x, y)))
    assert abs(float(xy.norm() ** 2 / (xx.norm() * yy.norm()) - exact)) > 1e-4


@pytest.mark.parametrize("estimator", ["debiased", "biased"])
def test_merged_parts_with_other_shifts_give_the_same(estimator: str, generator: torch.Generator) -> None:
    x, y = states(200, 10.0, generator)
    expected = linear_cka(x.double(), y.double(), estimator)
    mine = x[0], y[0]
    theirs = x[150], y[150]
    parts = [stream(x[:120], y[:120], 50, mine), stream(x[120:], y[120:], 33, theirs), stream(x[:0], y[:0], 8, theirs)]
    moved = [
        reshift(part, mine[0].double() - theirs[0].double(), mine[1].double() - theirs[1].double())
        for part in parts[1:]
    ]
    total = parts[0].merge(moved[0]).merge(moved[1])
    assert float(total.count) == 200
    assert abs(float(streaming_cka(total, estimator) - expected)) < 1e-6


def test_shifting_back_and_forth_changes_nothing(generator: torch.Generator) -> None:
    x, y = states(50, 0.0, generator)
    sums = stream(x.double(), y.double(), 50)
    dx, dy = torch.randn(24, generator=generator), torch.randn(15, generator=generator)
    there = reshift(sums, dx, dy)
    assert not torch.allclose(there.pq, sums.pq)
    direct = StreamingSums.zeros(24, 15).update(
        x.double(), y.double(), x.mean(0).double() + dx.double(), y.mean(0).double() + dy.double()
    )
    back = reshift(there, -dx, -dy)
    for name in StreamingSums.names():
        scale = getattr(sums, name).abs().max() + 1
        assert (getattr(back, name) - getattr(sums, name)).abs().max() < 1e-9 * scale, name
        scale = getattr(direct, name).abs().max() + 1
        assert (getattr(there, name) - getattr(direct, name)).abs().max() < 1e-5 * scale, name


def test_state_does_not_grow_with_the_examples(generator: torch.Generator) -> None:
    def size(n: int) -> int:
        sums = stream(*states(n, 0.0, generator), 10)
        return sum(getattr(sums, name).nelement() for name in StreamingSums.names())

    assert size(20) == size(200) == 24**2 + 15**2 + 24 * 15 + 3 * 24 + 3 * 15 + 6


def test_undefined_and_too_few(generator: torch.Generator) -> None:
    x, y = states(30, 0.0, generator)
    constant = torch.full((30, 15), 0.1)
    assert torch.isnan(streaming_cka(stream(x, constant, 7)))
    assert torch.isnan(streaming_cka(stream(x, constant, 7, (x[0], torch.zeros(15)))))
    with pytest.raises(ValueError, match="at least 4 examples are needed, got 3"):
        streaming_cka(stream(x[:3], y[:3], 3))
    with pytest.raises(ValueError, match="at least 4 examples are needed, got 0"):
        streaming_cka(StreamingSums.zeros(4, 4))


def test_malformed_batches_are_refused(generator: torch.Generator) -> None:
    x, y = states(10, 0.0, generator)
    sums, shifts = StreamingSums.zeros(24, 15), (torch.zeros(24), torch.zeros(15))
    with pytest.raises(ValueError, match="same examples, got 10 and 9 rows"):
        sums.update(x, y[:9], *shifts)
    with pytest.raises(ValueError, match=r"`y` must have shape \(examples, 15\)"):
        sums.update(x, x, *shifts)
    with pytest.raises(ValueError, match=r"`x` holds non-finite values .* rows 4;"):
        sums.update(x.clone().index_fill_(0, torch.tensor([4]), torch.nan), y, *shifts)
    assert float(sums.count) == 0
    with pytest.raises(ValueError, match="different widths cannot be merged"):
        sums.merge(StreamingSums.zeros(23, 15))


def literal_unbiased(x: Tensor, y: Tensor) -> Tensor:
    m = len(x)
    k, other = (x @ x.T).fill_diagonal_(0), (y @ y.T).fill_diagonal_(0)
    pairs = k.sum() * other.sum() / ((m - 1) * (m - 2))
    return (torch.trace(k @ other) + pairs - 2 / (m - 2) * (k @ other).sum()) / (m * (m - 3))


def test_minibatch_terms_are_the_unbiased_hsic(generator: torch.Generator) -> None:
    x = torch.randn(2, 9, 5, generator=generator, dtype=torch.float64)
    y = torch.randn(2, 9, 4, generator=generator, dtype=torch.float64)
    expected = torch.stack(
        [
            torch.stack([literal_unbiased(a, b), literal_unbiased(a, a), literal_unbiased(b, b)])
            for a, b in zip(x, y, strict=True)
        ]
    )
    assert torch.allclose(minibatch_terms(x, y), expected)
    ratio = expected.sum(0)
    assert torch.allclose(cka_from_minibatch_terms(ratio), ratio[0] / (ratio[1] * ratio[2]).sqrt())


def test_minibatch_cka_of_one_batch_is_debiased_cka_and_of_many_is_near(generator: torch.Generator) -> None:
    x, y = torch.randn(2, 512, 32, generator=generator)
    y += x
    whole = linear_cka(x, y)
    assert torch.allclose(minibatch_cka(x, y, 512), whole)
    assert abs(float(minibatch_cka(x, y, 32) - whole)) < 0.03
    # Averages of biased values per batch, the tempting alternative, are far off.
    per_batch = torch.stack([linear_cka(a, b, "biased") for a, b in zip(x.split(32), y.split(32), strict=True)]).mean()
    assert float(per_batch - whole) > 0.1


def test_minibatch_remainder_is_not_dropped(generator: torch.Generator) -> None:
    x, y = torch.randn(2, 3, 22, 6, generator=generator)
    terms = minibatch_terms(x[:, :10], y[:, :10]) * 10 * 7 + minibatch_terms(x[:, 10:], y[:, 10:]) * 12 * 9
    assert torch.allclose(minibatch_cka(x, y, 10), cka_from_minibatch_terms(terms), equal_nan=True)
    assert torch.isnan(minibatch_cka(torch.ones(8, 2), y[0, :8], 4))
    with pytest.raises(ValueError, match="`batch_size` must be at least 4"):
        minibatch_cka(x, y, 3)
