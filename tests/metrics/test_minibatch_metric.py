import copy
import pickle

import pytest
import torch

from lightning_layerscope.functional import linear_cka, minibatch_cka
from lightning_layerscope.metrics import MinibatchCKA


@pytest.fixture
def sides():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 64, 12, generator=generator) + 50
    return x, x[..., :8] + torch.randn(2, 64, 8, generator=generator)


def fed(x, y, size, metric=None):
    metric = metric or MinibatchCKA(num_layers=2)
    for start in range(0, x.shape[1], size):
        metric.update(x[:, start : start + size], y[:, start : start + size])
    return metric


@pytest.mark.parametrize("size", [8, 16, 20, 64])
def test_agrees_with_the_function(sides, size):
    torch.testing.assert_close(fed(*sides, size).compute(), minibatch_cka(*sides, batch_size=size))


def test_one_batch_is_the_debiased_value(sides):
    torch.testing.assert_close(fed(*sides, 64).compute(), linear_cka(*sides), rtol=0, atol=1e-6)


def test_it_estimates_the_debiased_value_from_small_batches():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 4000, 6, generator=generator)
    y = x + torch.randn(1, 4000, 6, generator=generator)
    found = fed(x, y, 8, MinibatchCKA(num_layers=1)).compute()
    assert float(found) == pytest.approx(float(linear_cka(x, y)), abs=0.02)


def test_merging_pickling_casting_and_resetting(sides):
    x, y = sides
    whole = fed(x, y, 16)
    first, second = fed(x[:, :32], y[:, :32], 16), fed(x[:, 32:], y[:, 32:], 16)
    first.to(torch.bfloat16)
    first.merge_state(pickle.loads(pickle.dumps(copy.deepcopy(second))))
    torch.testing.assert_close(first.compute(), whole.compute())
    first.reset()
    torch.testing.assert_close(fed(x, y, 16, first).compute(), whole.compute())


def test_forward_gives_the_value_of_the_batch(sides):
    x, y = sides
    metric = MinibatchCKA(num_layers=2)
    for part in (slice(0, 32), slice(32, 64)):
        batch_value = metric(x[:, part], y[:, part])
        torch.testing.assert_close(batch_value, linear_cka(x[:, part], y[:, part]), rtol=0, atol=1e-6)
    torch.testing.assert_close(metric.compute(), fed(x, y, 32).compute())


def test_without_a_layer_axis(sides):
    metric = MinibatchCKA()
    metric.update(sides[0][0], sides[1][0])
    assert metric.compute().shape == ()


def test_refuses_what_it_cannot_use(sides):
    x, y = sides
    with pytest.raises(ValueError, match="at least 4 are needed"):
        MinibatchCKA(num_layers=2).update(x[:, :3], y[:, :3])
    with pytest.raises(ValueError, match=r"expected \(3, examples, width\), got \(2, 64, 12\)"):
        MinibatchCKA(num_layers=3).update(x, y)
    with pytest.raises(ValueError, match="`num_layers`"):
        MinibatchCKA(num_layers=0)
    with (
        pytest.warns(UserWarning, match="before the ``update`` method"),
        pytest.raises(ValueError, match="has seen no batch"),
    ):
        MinibatchCKA().compute()


def test_no_variance_is_undefined():
    metric = MinibatchCKA()
    metric.update(torch.full((8, 3), 0.1), torch.randn(8, 3, generator=torch.Generator().manual_seed(0)))
    assert torch.isnan(metric.compute())
