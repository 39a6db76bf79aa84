import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_layerscope.functional import LowRank, drift_per_update, relative_low_rank_update, relative_update


def layer(seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator).to(dtype) for shape in ((30, 20), (20, 7), (20,))]


def by_numpy(before, after):
    before, after = (np.concatenate([w.double().numpy().ravel() for w in side]) for side in (before, after))
    return np.linalg.norm(after - before) / np.linalg.norm(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_relative_update_equals_numpys_norms(dtype, tolerances):
    before, after = layer(0, dtype), layer(1, dtype)
    assert float(relative_update(before, after)) == pytest.approx(by_numpy(before, after), rel=tolerances.EXACT)


def test_a_replaced_matrix_is_found_whatever_its_size(tolerances):
    """Known answer: a matrix turned round changes by twice its own norm."""
    before = layer(0)
    after = [-before[0], *before[1:]]
    expected = 2 * float(before[0].norm()) / float(torch.cat([w.flatten() for w in before]).norm())
    assert float(relative_update(before, after)) == pytest.approx(expected, rel=tolerances.EXACT)
    assert float(relative_update(before, before)) == 0


def test_adapters_are_measured_as_their_product_would_be(tolerances):
    generator = torch.Generator().manual_seed(3)
    weights = layer(0)[:2]
    change = LowRank(torch.randn(30, 4, generator=generator), torch.randn(4, 20, generator=generator), scaling=0.5)
    merged = [weights[0] + 0.5 * change.b @ change.a, weights[1]]
    found = float(relative_low_rank_update(weights, [change, None]))
    assert found == pytest.approx(by_numpy(weights, merged), rel=tolerances.EXACT)
    assert float(relative_low_rank_update(weights, [None, None])) == 0


class Products(TorchDispatchMode):
    """Notes the sizes of all matrix products."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if "mm" in str(func):
            self.sizes.append(out.numel())
        return out


def test_the_product_is_never_formed():
    change = LowRank(torch.ones(30, 4), torch.ones(4, 20))
    with Products() as products:
        relative_low_rank_update([torch.ones(30, 20)], [change])
    assert products.sizes == [16, 16]
    with Products() as products:
        torch.mm(change.b, change.a)
    assert products.sizes == [600]


def test_drift_is_divided_by_update_and_undefined_without_one():
    found = drift_per_update(torch.tensor([0.2, 0.2, 0.0]), torch.tensor([0.1, 0.0, 0.1]))
    assert found[0] == pytest.approx(2.0, rel=1e-6)
    assert torch.isnan(found[1])
    assert found[2] == 0


def test_equal_drift_at_unequal_updates_is_told_apart():
    """The planted case of the measure: a late layer moves as much only because it was pushed ten times harder."""
    found = drift_per_update(torch.tensor([0.1, 0.1]), torch.tensor([0.01, 0.1]))
    assert float(found[0] / found[1]) == pytest.approx(10, rel=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: relative_update([], []), "at least one, got 0 and 0"),
        (lambda: relative_update([torch.ones(2)], [torch.ones(3)]), r"weight 0 is \(2,\)"),
        (lambda: relative_update([torch.ones(2).int()], [torch.ones(2).int()]), "dequantise"),
        (
            lambda: relative_low_rank_update([torch.ones(3, 3)], [LowRank(torch.ones(3, 2), torch.ones(1, 3))]),
            r"\(outputs, rank\) and \(rank, inputs\)",
        ),
        (lambda: drift_per_update(torch.ones(2), torch.ones(3)), "same layers twice"),
        (lambda: drift_per_update(torch.ones(2), -torch.ones(2)), "cannot be negative"),
    ],
)
def test_refuses_what_does_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_weights_of_zero_have_no_relative_update():
    assert torch.isnan(relative_update([torch.zeros(3)], [torch.ones(3)]))
