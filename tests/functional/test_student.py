"""Student's t, and how far a bootstrap over few clusters is widened."""

import numpy as np
import pytest
from scipy import stats

from lightning_layerscope.functional.student import cluster_widening, student_quantile


@pytest.mark.parametrize("freedom", [1, 2, 5, 19, 511])
@pytest.mark.parametrize("probability", [0.05, 0.75, 0.95, 0.995])
def test_quantiles_are_those_of_scipy(freedom, probability):
    assert student_quantile(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom), rel=1e-9)


@pytest.mark.parametrize(("probability", "freedom"), [(0.0, 3), (1.0, 3), (0.5, 0)])
def test_what_has_no_quantile_is_refused(probability, freedom):
    with pytest.raises(ValueError, match="probability in"):
        student_quantile(probability, freedom)


def test_a_widened_bootstrap_of_few_clusters_covers_as_it_says():
    rng = np.random.default_rng(0)
    covered = {False: 0, True: 0}
    for _ in range(400):
        means = rng.standard_normal(6)
        drawn = rng.multinomial(6, np.full(6, 1 / 6), size=400) @ means / 6
        for widened in covered:
            spread = (cluster_widening(6, 0.9) if widened else 1) * (drawn - means.mean())
            low, high = means.mean() + np.quantile(spread, [0.05, 0.95])
            covered[widened] += bool(low <= 0 <= high)
    assert covered[True] / 400 >= 0.87
    assert covered[False] / 400 <= 0.84
