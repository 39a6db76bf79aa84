"""What holds for every measure: batches, devices' dtypes, gradients, undefined values, refused input."""

from functools import partial

import pytest
import torch

from lightning_layerscope.functional import (
    components_for_variance,
    effective_rank,
    knn_purity,
    linear_predictivity,
    mutual_knn,
    participation_ratio,
    procrustes_distance,
    procrustes_similarity,
    rbf_cka,
    rsa,
    scatter_ratio,
    silhouette,
    svcca,
)

PAIRS = {
    "rbf_cka": rbf_cka,
    "rbf_cka_biased": partial(rbf_cka, estimator="biased"),
    "svcca": partial(svcca, variance=0.9),
    "procrustes_similarity": procrustes_similarity,
    "procrustes_distance": procrustes_distance,
    "rsa_spearman": rsa,
    "rsa_pearson": partial(rsa, correlation="pearson"),
    "rsa_correlation": partial(rsa, dissimilarity="correlation"),
    "mutual_knn": partial(mutual_knn, k=5),
    "mutual_knn_euclidean": partial(mutual_knn, k=5, distance="euclidean"),
    "linear_predictivity": linear_predictivity,
}
SINGLES = {
    "effective_rank": effective_rank,
    "participation_ratio": participation_ratio,
    "components": components_for_variance,
}
LABELLED = {"scatter_ratio": scatter_ratio, "knn_purity": partial(knn_purity, k=5), "silhouette": silhouette}
ALL = PAIRS | SINGLES | LABELLED


@pytest.fixture(params=ALL)
def case(request, related, clustered):
    """A measure, its arguments with two layers, and which of the arguments are hidden states."""
    measure = ALL[request.param]
    if request.param in PAIRS:
        return measure, list(related), (0, 1)
    if request.param in SINGLES:
        return measure, [related[0]], (0,)
    return measure, list(clustered), (0,)


def changed(case, how):
    measure, arguments, states = case
    return measure(*(how(value) if position in states else value for position, value in enumerate(arguments)))


def test_a_batch_is_its_layers_one_by_one(case):
    whole = changed(case, lambda x: x)
    assert whole.shape == (2,)
    assert whole.dtype == torch.float64
    for layer in range(2):
        single = changed(case, lambda x, layer=layer: x[layer])
        assert single.shape == ()
        torch.testing.assert_close(single, whole[layer], rtol=0, atol=0)


def test_several_leading_axes(case):
    whole = changed(case, lambda x: torch.stack([x, x.flip(0), x]))
    assert whole.shape == (3, 2)
    torch.testing.assert_close(whole[1].flip(0), whole[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounded_input_with_offsets_and_outlier_dimensions(case, dtype, tolerances):
    def like_a_residual_stream(x):
        x = x.clone()
        x[..., 0] = 1000 * x[..., 0] + 3000
        return x.to(dtype)

    expected = changed(case, lambda x: like_a_residual_stream(x).double())
    found = changed(case, like_a_residual_stream)
    torch.testing.assert_close(found, expected, rtol=tolerances.ROUNDED_INPUT, atol=tolerances.ROUNDED_INPUT)


def test_autocast_changes_nothing(case):
    expected = changed(case, lambda x: x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(changed(case, lambda x: x), expected, rtol=0, atol=0)


def test_no_gradients_and_no_writing_into_the_input(case):
    before = [value.clone() for value in case[1]]
    found = changed(case, lambda x: x.requires_grad_())
    assert not found.requires_grad
    for value, copy in zip(case[1], before, strict=True):
        assert torch.equal(value.detach(), copy)


@pytest.mark.parametrize("offset", [0.0, 7.3, 1e4 / 3])
def test_no_variance_is_undefined(case, offset):
    assert torch.isnan(changed(case, lambda x: torch.full_like(x, offset))).all()


def test_one_undefined_layer_leaves_the_others(case):
    expected = changed(case, lambda x: x)
    found = changed(case, lambda x: torch.stack([x[0], torch.full_like(x[1], 0.1)]))
    assert torch.isnan(found[1])
    assert float(found[0]) == float(expected[0])


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_refuses_non_finite_values(case, value):
    def broken(x):
        x = x.clone()
        x[1, 3, 2] = value
        return x

    with pytest.raises(ValueError, match=r"non-finite values .* in rows 3"):
        changed(case, broken)


def test_refuses_too_few_examples(case):
    measure, arguments, _ = case
    with pytest.raises(ValueError, match=r"1 examples .* at least \d are needed"):
        measure(*(a[..., :1, :] if a.is_floating_point() else a[:1] for a in arguments))


def test_refuses_a_single_vector(case):
    with pytest.raises(ValueError, match=r"shape \(\.\.\., examples, width\)"):
        changed(case, lambda x: x[0, 0])


@pytest.mark.parametrize("name", PAIRS)
def test_refuses_rows_that_do_not_match(name, related):
    x, y = related
    with pytest.raises(ValueError, match="same examples row by row, got 40 and 39"):
        PAIRS[name](x, y[:, :-1])
    with pytest.raises(ValueError, match="same leading"):
        PAIRS[name](x, y[0])


@pytest.mark.parametrize("name", PAIRS)
def test_examples_may_come_in_any_order(name, related, tolerances):
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    shuffled = PAIRS[name](*(side[:, order] for side in related))
    torch.testing.assert_close(shuffled, PAIRS[name](*related), rtol=0, atol=tolerances.INVARIANT)


@pytest.mark.parametrize("name", PAIRS)
def test_examples_of_one_side_may_not(name, related, tolerances):
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    shuffled = PAIRS[name](related[0][:, order], related[1])
    assert bool(((shuffled - PAIRS[name](*related)).abs() > tolerances.FELT).all())
