import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, LeaveOneOut, cross_val_predict

from lightning_layerscope.functional.predictivity import linear_predictivity


def refitted(x: np.ndarray, y: np.ndarray, ridge: float, cv, groups=None) -> float:
    centred = x - x.mean(0)
    model = Ridge(alpha=ridge * (centred**2).sum() / len(x), solver="svd")
    predicted = cross_val_predict(model, x, y, cv=cv, groups=groups)
    baseline = cross_val_predict(Ridge(alpha=1.0), np.zeros((len(x), 1)), y, cv=cv, groups=groups)
    return float(1 - ((y - predicted) ** 2).sum() / ((y - baseline) ** 2).sum())


@pytest.mark.parametrize("ridge", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("data", ["related", "wide"])
def test_leave_one_out_equals_refitting(ridge, data, request, tolerances):
    x, y = request.getfixturevalue(data)
    expected = [refitted(a.numpy(), b.numpy(), ridge, LeaveOneOut()) for a, b in zip(x, y, strict=True)]
    found = linear_predictivity(x, y, ridge)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=tolerances.EXACT)


def test_leaving_out_folds_equals_refitting(related, tolerances):
    x, y = (side[0] for side in related)
    folds = torch.arange(40) % 7
    expected = refitted(x.numpy(), y.numpy(), 0.1, GroupKFold(7), groups=folds.numpy())
    assert float(linear_predictivity(x, y, 0.1, folds)) == pytest.approx(expected, abs=tolerances.EXACT)


def test_it_has_a_direction():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100, 6, generator=generator)
    y = x[:, :1]
    assert float(linear_predictivity(x, y, ridge=1e-3)) > 0.99
    assert float(linear_predictivity(y, x, ridge=1e-3)) < 0.3


def test_unrelated_sides_predict_nothing():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 64, 300, generator=generator)
    assert float(linear_predictivity(x, y)) < 0.05


def test_refuses_bad_options(related):
    with pytest.raises(ValueError, match="positive `ridge`"):
        linear_predictivity(*related, ridge=0.0)
    with pytest.raises(ValueError, match=r"integer `folds` of shape \(40,\)"):
        linear_predictivity(*related, folds=torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match="single fold"):
        linear_predictivity(*related, folds=torch.zeros(40, dtype=torch.long))
