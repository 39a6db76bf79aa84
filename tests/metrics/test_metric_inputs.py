"""What the metrics refuse, and what the distributed sampler does to them."""

import pytest
import torch

from lightning_layerscope import metrics
from lightning_layerscope.functional import linear_cka


@pytest.fixture
def sides():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 20, 5, generator=generator), torch.randn(2, 20, 3, generator=generator)


def test_the_padding_of_a_distributed_sampler_is_dropped(sides):
    """Two ranks of a sampler over 19 examples: the second one repeats example 0."""
    x, y = (side[0][:19] for side in sides)
    padded = torch.cat([torch.arange(19), torch.tensor([0])])
    with_ids, without = metrics.LinearCKA(), metrics.LinearCKA()
    for rank in (padded[0::2], padded[1::2]):
        with_ids.update(x[rank], y[rank], ids=rank)
        without.update(x[rank], y[rank])
    assert float(with_ids.compute()) == pytest.approx(float(linear_cka(x, y)), abs=1e-6)
    assert float(without.compute()) != pytest.approx(float(linear_cka(x, y)), abs=1e-4)


def test_a_repeated_example_may_differ_by_rounding_only(sides):
    x, y = (side[0] for side in sides)
    ids = torch.arange(20)
    metric = metrics.LinearCKA()
    metric.update(x, y, ids)
    metric.update(x[:4].bfloat16(), y[:4].bfloat16(), ids[:4])
    assert float(metric.compute()) == pytest.approx(float(linear_cka(x, y)), abs=1e-6)
    metric.update(x[5:6] + 1, y[5:6], ids[5:6])
    with pytest.raises(ValueError, match="example id 5 came with two different hidden states"):
        metric.compute()


def test_a_repeated_example_keeps_its_label():
    metric = metrics.ScatterRatio()
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    metric.update(x, torch.tensor([0, 0, 0, 1, 1, 1]), torch.arange(6))
    metric.update(x[:1], torch.tensor([1]), torch.tensor([0]))
    with pytest.raises(ValueError, match="two different labels"):
        metric.compute()


def test_too_few_distinct_examples_say_how_many_were_left_out(sides):
    x, y = (side[0] for side in sides)
    metric = metrics.LinearCKA()
    metric.update(x[:3], y[:3], torch.arange(3))
    metric.update(x[:2], y[:2], torch.arange(2))
    with pytest.raises(ValueError, match=r"LinearCKA needs at least 4 examples, got 3 \(2 repeated ids left out\)"):
        metric.compute()


def test_streaming_refuses_repetitions(sides):
    x, y = (side[0] for side in sides)
    metric = metrics.StreamingCKA(5, 3)
    metric.update(x, y, torch.arange(20))
    metric.update(x[:2], y[:2], torch.arange(2))
    with pytest.raises(ValueError, match=r"2 of 22 examples came twice .* Use LinearCKA"):
        metric.compute()


@pytest.mark.parametrize("make", [metrics.LinearCKA, lambda: metrics.StreamingCKA(5, 3)])
def test_ids_always_or_never(make, sides):
    x, y = (side[0] for side in sides)
    metric = make()
    metric.update(x, y)
    metric.update(x, y, torch.arange(20))
    with pytest.raises(ValueError, match="20 of 40 examples came with ids"):
        metric.compute()


def test_streaming_is_exact_with_offsets_and_outlier_dimensions():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 8, generator=generator)
    x[:, 0] = 1000 * x[:, 0] + 3000
    y = x[:, :6] * torch.tensor([1e-3, 1, 1, 1, 1, 1]) + torch.randn(300, 6, generator=generator) + 100
    metric = metrics.StreamingCKA(8, 6)
    for part in torch.arange(300).split(32):
        metric.update(x[part], y[part])
    assert float(metric.compute()) == pytest.approx(float(linear_cka(x.double(), y.double())), abs=1e-9)


@pytest.mark.parametrize("estimator", ["debiased", "biased"])
def test_an_undefined_value_is_nan(estimator):
    x, y = torch.full((8, 3), 0.1), torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    for metric in (metrics.LinearCKA(estimator), metrics.StreamingCKA(3, 3, estimator), metrics.RBFCKA(estimator)):
        metric.update(x, y)
        assert torch.isnan(metric.compute())


def test_one_metric_is_for_one_shape(sides):
    x, y = sides
    metric = metrics.SVCCA()
    metric.update(x, y)
    with pytest.raises(
        ValueError, match=r"this batch has \(layers, widths\) \(2, 4, 3\), earlier ones had \(2, 5, 3\)"
    ):
        metric.update(x[..., :4], y)
    with pytest.raises(ValueError, match="earlier ones had"):
        metric.update(x[0], y[0])
    other = metrics.SVCCA()
    other.update(x[..., :4], y)
    metric.merge_state(other)
    with pytest.raises(ValueError, match="different layers or widths"):
        metric.compute()


def test_malformed_batches(sides):
    x, y = sides
    with pytest.raises(ValueError, match="same examples in the same order"):
        metrics.RSA().update(x, y[:, :-1])
    with pytest.raises(ValueError, match=r"`x` of shape \(examples, width\) or"):
        metrics.RSA().update(x[0, 0], y[0, 0])
    with pytest.raises(ValueError, match="finite floating-point hidden states in `y`"):
        metrics.RSA().update(x, y / 0)
    with pytest.raises(ValueError, match=r"finite floating-point hidden states in `x`, got torch\.int64"):
        metrics.EffectiveRank().update(x.long())
    with pytest.raises(ValueError, match=r"integer `ids` of shape \(20,\), got torch.float32"):
        metrics.RSA().update(x, y, torch.rand(20))
    with pytest.raises(ValueError, match=r"integer `labels` of shape \(20,\), got NoneType"):
        metrics.KNNPurity().update(x, None)
    with pytest.raises(ValueError, match=r"`x` of shape \(3, examples, width\), got \(2, 20, 5\)"):
        metrics.LayerwiseCKA(3).update(x, y)
    with pytest.raises(ValueError, match=r"`x` of shape \(3, examples, width\), got \(2, 20, 5\)"):
        metrics.SpecialistCKA(3).update(x)
    with pytest.raises(ValueError, match=r"task labels 0\.\.2, got 0\.\.3"):
        metrics.TaskMeanCosine(3).update(x, torch.arange(20) % 4)
    with pytest.raises(ValueError, match="`x` must have shape"):
        metrics.StreamingCKA(4, 3).update(x[0], y[0])


def test_a_missing_task_is_named(sides):
    metric = metrics.TaskMeanCosine(3)
    metric.update(sides[0], torch.arange(20) % 2)
    with pytest.raises(ValueError, match="needs at least 2 examples of task 2, got 0"):
        metric.compute()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: metrics.LinearCKA("unbiased"), "estimator"),
        (lambda: metrics.LayerwiseCKA(0), "num_layers"),
        (lambda: metrics.RBFCKA(bandwidth=0), "bandwidth"),
        (lambda: metrics.RBFCKA("unbiased"), "estimator"),
        (lambda: metrics.SVCCA(1.5), "variance"),
        (lambda: metrics.RSA("kendall"), "correlation"),
        (lambda: metrics.RSA(dissimilarity="cosine"), "dissimilarity"),
        (lambda: metrics.MutualKNN(0), "`k`"),
        (lambda: metrics.MutualKNN(distance="manhattan"), "distance"),
        (lambda: metrics.LinearPredictivity(-1), "ridge"),
        (lambda: metrics.ComponentsForVariance(99), "variance"),
        (lambda: metrics.KNNPurity(0), "`k`"),
        (lambda: metrics.TaskMeanCosine(1), "num_tasks"),
        (lambda: metrics.CovarianceOverlap(3, "unbiased"), "estimator"),
        (lambda: metrics.SpecialistCKA(1), "num_specialists"),
        (lambda: metrics.SpecialistCKA(2, "unbiased"), "estimator"),
        (lambda: metrics.StreamingCKA(0, 3), "widths"),
    ],
)
def test_bad_options_are_refused_at_once(make, message):
    with pytest.raises(ValueError, match=message):
        make()
