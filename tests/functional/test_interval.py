"""One type for a number with its interval, one mean of what is defined, one standard error of a jackknife."""

import numpy as np
import pytest
import torch

from lightning_layerscope.functional.cluster_intervals import defined_mean
from lightning_layerscope.functional.interval import Interval
from lightning_layerscope.functional.jackknife import jackknife_stderr


def test_an_interval_turns_around_and_says_when_it_is_above_zero():
    one = Interval.around(1.0, 0.25)
    assert (one.low, one.high, one.half_width, one.above_zero) == (0.75, 1.25, 0.25, True)
    assert (-one).low == -1.25
    assert (-one).high == -0.75
    assert not (-one).above_zero
    assert not Interval.around(1.0, 1.0).above_zero
    assert not Interval(1.0, float("nan"), float("nan")).above_zero


def test_undefined_values_are_left_out_of_a_mean():
    values = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])
    np.testing.assert_array_equal(defined_mean(values), [2.0, 5.0, np.nan])
    np.testing.assert_array_equal(defined_mean(values, axis=1), [1.0, 4.0])
    assert float(defined_mean(values[0])) == 1.0
    assert np.isnan(defined_mean([]))


def test_the_jackknife_of_a_mean_is_its_standard_error():
    x = torch.randn(2, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    replicates = (x.sum(dim=-1, keepdim=True) - x) / 29
    expected = x.std(dim=-1) / 30**0.5
    assert jackknife_stderr(replicates).tolist() == pytest.approx(expected.tolist(), rel=1e-12)
