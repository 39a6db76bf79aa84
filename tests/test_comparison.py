"""compare: right values, right rows, and no comparison of what does not belong together."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from lightning_layerscope import HiddenStates, ReferenceBank, compare
from lightning_layerscope.comparison import MEASURES
from lightning_layerscope.comparison.task_by_task import StatesComparison
from lightning_layerscope.comparison.task_comparison import CompareOptions
from lightning_layerscope.functional import linear_cka
from lightning_layerscope.functional.gram import centered_gram
from lightning_layerscope.functional.jackknife import cka_estimate
from lightning_layerscope.functional.robust import robust_transform

PAIR = ("cka", "cka_robust")


def random_states(seed=0, *, layers=3, examples=(24, 17), width=40, like=None, share=0.0, **changes):
    """Two tasks of random states; with ``like``, partly those of other states."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {f"task{i}": torch.randn(layers, n, width, generator=generator) for i, n in enumerate(examples)}
    if like is not None:
        tensors = {task: share * like[task] + (1 - share) * tensor for task, tensor in tensors.items()}
    ids = {task: tuple(f"{task}/{row}" for row in range(tensor.shape[1])) for task, tensor in tensors.items()}
    known = {
        "layers": tuple(range(1, layers + 1)),
        "num_layers": layers,
        "clusters": {"task0": "x", "task1": "y"},
        "example_ids": ids,
        "examples_digest": "e" * 64,
        "tokens_digest": "t" * 64,
        "model_name": "tiny",
    }
    return HiddenStates(tensors=tensors, **{**known, **changes})


BASE = random_states(0)
TUNED = random_states(1, like=BASE, share=0.6)


@pytest.mark.parametrize("estimator", ["debiased", "biased"])
@pytest.mark.parametrize("as_gram", [True, False])
def test_values_and_intervals_are_those_of_the_functions(estimator, as_gram):
    bank = ReferenceBank.from_states(BASE, name="initial") if as_gram else BASE
    profile = compare(TUNED, bank, estimator=estimator, step=7, confidence=0.8)
    for task in BASE:
        x, y = TUNED[task], BASE[task]
        exact = cka_estimate(centered_gram(x), centered_gram(y), estimator=estimator, confidence=0.8)
        row = profile.tasks.index(task)
        for column in ("value", "low", "high"):
            np.testing.assert_allclose(profile.matrix(column=column)[row], getattr(exact, column), atol=1e-6)
        np.testing.assert_allclose(profile.matrix()[row], linear_cka(x, y, estimator=estimator), atol=1e-6)
        robust = linear_cka(robust_transform(x), robust_transform(y), estimator=estimator)
        np.testing.assert_allclose(profile.matrix("cka_robust")[row], robust, atol=1e-6)
    rows = profile.frame[profile.frame["measure"].isin(PAIR)]
    assert rows["estimator"].unique().tolist() == [estimator]
    assert profile.steps == [7]


def test_the_profile_knows_what_it_is_of():
    profile = compare(TUNED, ReferenceBank.from_states(BASE, name="initial"))
    assert profile.meta.reference == "initial"
    assert profile.meta.reference_digest == ReferenceBank.from_states(BASE, name="initial").digest
    assert (profile.meta.examples_digest, profile.meta.tokens_digest) == ("e" * 64, "t" * 64)
    assert (profile.meta.model_name, profile.measure, profile.meta.estimator) == ("tiny", "cka", "debiased")
    assert profile.meta.examples == {"task0": 24, "task1": 17}
    assert (profile.num_layers, profile.layers, profile.clusters) == (3, [1, 2, 3], {"task0": "x", "task1": "y"})
    assert profile.meta.notes == ()


def test_equal_states_are_similar_and_unrelated_are_not():
    np.testing.assert_allclose(compare(BASE, ReferenceBank.from_states(BASE)).matrix(), 1, atol=1e-6)
    wide = {"a": torch.randn(2, 100, 2000, generator=torch.Generator().manual_seed(0))}
    other = {"a": torch.randn(2, 100, 2000, generator=torch.Generator().manual_seed(1))}
    assert np.abs(compare(wide, other).matrix()).max() < 0.05
    assert compare(wide, other, estimator="biased").matrix().min() > 0.9


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_has_an_interval_and_works_from_grams(measure):
    exact = compare(TUNED, BASE, measure=measure, robust=False, diagnostics=False)
    stored = compare(TUNED, ReferenceBank.from_states(BASE), measure=measure, robust=False, diagnostics=False)
    both = compare(ReferenceBank.from_states(TUNED), ReferenceBank.from_states(BASE), measure=measure, robust=False)
    # RSA works on ranks: equal up to rounding may rank differently.
    tolerance = 1e-3 if measure == "rsa" else 1e-5
    for profile in (stored, both):
        np.testing.assert_allclose(profile.matrix(), exact.matrix(), atol=tolerance)
    low, value, high = (exact.matrix(column=column) for column in ("low", "value", "high"))
    assert (low < value).all()
    assert (value < high).all()
    assert exact.measure == measure
    # A nearer model is more similar (or less distant).
    near = compare(
        random_states(1, like=BASE, share=0.95), BASE, measure=measure, robust=False, diagnostics=False
    ).matrix()
    assert ((near - value) * (-1 if measure.endswith("distance") else 1)).mean() > 0


def test_models_of_other_width_and_tokens_are_compared_and_said():
    wide = random_states(2, width=64, model_name="other", tokens_digest="u" * 64)
    profile = compare(wide, ReferenceBank.from_states(BASE))
    assert profile.matrix().shape == (2, 3)
    assert profile.meta.notes == (
        "the two models read the same prompts with different tokens, templates or token choices",
    )


def test_undefined_values_are_nan_with_their_reason():
    states = {"a": torch.randn(2, 12, 5, generator=torch.Generator().manual_seed(0))}
    constant = {"a": states["a"].clone()}
    constant["a"][1] = 3.0
    profile = compare(constant, states)
    np.testing.assert_array_equal(np.isnan(profile.matrix()), [[False, True]])
    rows = profile.rows()
    assert rows["reason"].tolist() == ["", "zero variance in the states"]
    assert compare(states, constant).rows()["reason"].tolist() == ["", "zero variance in the reference"]
    assert set(profile.rows("participation_ratio")["reason"]) == {"", "zero variance"}


def test_four_examples_have_a_value_and_no_interval():
    states = {"a": torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))}
    profile = compare(states, states)
    np.testing.assert_allclose(profile.matrix(), 1, atol=1e-6)
    assert np.isnan(profile.matrix(column="low")).all()


def test_outlier_dimensions_are_warned_of_and_seen_through():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 64, 50, generator=generator), torch.randn(2, 64, 50, generator=generator)
    shared = 300 * torch.randn(64, generator=generator)
    first[1, :, 7], second[1, :, 7] = shared, shared
    profile = compare({"a": first}, {"a": second}, step=40)
    headline, robust = profile.matrix()[0], profile.matrix("cka_robust")[0]
    assert abs(headline[0]) < 0.3
    assert headline[1] > 0.99
    assert robust[1] < 0.3
    assert profile.matrix("top_dimension_share")[0, 1] > 0.99
    assert profile.matrix("participation_ratio")[0, 1] < 1.01
    warning = next(line for line in profile.meta.warnings if "top_dimension_share" in line)
    assert warning.startswith("step 40: top_dimension_share above 0.2 in 1 of 1 task at 1 layer (2 to 2); most in 'a'")
    assert warning.endswith(f"(there cka {headline[1]:.3f}, cka_robust {robust[1]:.3f})")
    assert any("distance of cka from cka_robust above 0.1" in line for line in profile.meta.warnings)
    assert not any("top_dimension" in line for line in compare({"a": first[:1]}, {"a": second[:1]}).meta.warnings)


def test_states_rounded_too_coarsely_are_warned_of():
    states = torch.randn(1, 64, 50, generator=torch.Generator().manual_seed(0))
    coarse = compare({"a": (states + 1000).bfloat16()}, {"a": states})
    assert any("rounding_share" in line and "extract in float32" in line for line in coarse.meta.warnings)
    assert not any("rounding_share" in line for line in compare({"a": states}, {"a": states}).meta.warnings)


def test_diagnostics_from_grams_are_those_from_states():
    exact, stored = compare(TUNED, BASE), compare(ReferenceBank.from_states(TUNED), BASE)
    for name in ("participation_ratio", "effective_directions", "top_component_share", "components_99"):
        np.testing.assert_allclose(stored.matrix(name), exact.matrix(name), rtol=1e-3)
    assert "top_dimension_share" not in stored.measures
    assert any("top_dimension_share" in note and "not given" in note for note in stored.meta.notes)
    assert compare(TUNED, BASE, diagnostics=False, robust=False).measures == ["cka"]


def test_a_bank_without_robust_grams_is_said():
    profile = compare(TUNED, ReferenceBank.from_states(BASE, robust=False))
    assert "cka_robust" not in profile.measures
    assert any("from_states(..., robust=True)" in note for note in profile.meta.notes)


def test_the_biased_estimator_warns_where_tasks_have_other_counts():
    assert any("17 to 24 examples" in line for line in compare(TUNED, BASE, estimator="biased").meta.warnings)
    assert not any("inflated" in line for line in compare(TUNED, BASE).meta.warnings)


def test_some_tasks_and_layers():
    full = compare(TUNED, BASE)
    some = compare(TUNED, ReferenceBank.from_states(BASE), tasks=["task1"], layers=[1, 3])
    assert (some.tasks, some.layers, some.num_layers) == (["task1"], [1, 3], 3)
    np.testing.assert_allclose(some.matrix(), full.matrix()[1:, [0, 2]], atol=1e-6)
    np.testing.assert_allclose(some.matrix("cka_robust"), full.matrix("cka_robust")[1:, [0, 2]], atol=1e-6)
    np.testing.assert_allclose(some.matrix("top_dimension_share"), full.matrix("top_dimension_share")[1:, [0, 2]])


def test_layers_are_aligned_by_number():
    flipped = replace(BASE, tensors={task: tensor[1:] for task, tensor in BASE.tensors.items()}, layers=(2, 3))
    np.testing.assert_allclose(compare(flipped, ReferenceBank.from_states(BASE), layers=[2, 3]).matrix(), 1, atol=1e-6)


def test_tasks_are_aligned_by_name():
    turned = replace(TUNED, tensors={task: TUNED[task] for task in ("task1", "task0")})
    profile = compare(turned, ReferenceBank.from_states(BASE))
    assert profile.tasks == ["task1", "task0"]
    np.testing.assert_allclose(profile.matrix(), compare(TUNED, BASE).matrix()[::-1], atol=1e-6)


def test_a_reference_probed_with_more_tasks_serves_fewer():
    alone = replace(
        TUNED,
        tensors={"task0": TUNED["task0"]},
        example_ids={"task0": TUNED.example_ids["task0"]},
        examples_digest="f" * 64,
        tokens_digest="g" * 64,
    )
    expected = compare(TUNED, BASE).matrix()[:1]
    for bank in (BASE, ReferenceBank.from_states(BASE).select(["task0"])):
        profile = compare(alone, bank, tasks=["task0"])
        np.testing.assert_allclose(profile.matrix(), expected, atol=1e-6)
        assert any("verified by their ids alone" in note for note in profile.meta.notes)


def test_a_reference_of_more_layers_is_cut_to_the_measured_ones():
    some = replace(TUNED, tensors={task: tensor[1:] for task, tensor in TUNED.items()}, layers=(2, 3))
    for bank in (BASE, ReferenceBank.from_states(BASE)):
        profile = compare(some, bank)
        assert profile.meta.layers == (2, 3)
        np.testing.assert_allclose(profile.matrix(), compare(TUNED, BASE).matrix()[:, 1:], atol=1e-6)


def test_a_reference_of_fewer_layers_is_refused_with_those_it_has():
    few = replace(BASE, tensors={task: tensor[:2] for task, tensor in BASE.items()}, layers=(1, 2))
    with pytest.raises(ValueError, match=r"got one with \[1, 2\]: \[3\] are missing; use layers=\[1, 2\]"):
        compare(TUNED, few)
    assert compare(TUNED, few, layers=[1, 2]).meta.layers == (1, 2)


@pytest.mark.parametrize("measure", ["cka", "mutual_knn"])
def test_a_task_is_compared_alone_and_gives_its_grams_with_it(measure):
    comparison = StatesComparison(TUNED, BASE, CompareOptions(measure))
    parts, shapes = [], {}
    for task in comparison.tasks:
        part, grams = comparison.compare_task(task, with_grams=True)
        parts.append(part)
        torch.testing.assert_close(grams.gram, ReferenceBank.from_states(TUNED).gram(task))
        shapes[task] = tuple(grams.shape)
    assert shapes == {"task0": (3, 24, 24), "task1": (3, 17, 17)}
    together = compare(TUNED, BASE, measure=measure)
    pd.testing.assert_frame_equal(comparison.profile(parts).frame, together.frame, rtol=1e-6)
    assert comparison.profile(parts).meta == together.meta


def test_grams_that_nobody_needs_are_not_computed():
    assert StatesComparison(TUNED, BASE, CompareOptions("mutual_knn")).compare_task("task0")[1] is None


def test_states_are_not_changed():
    before = {task: tensor.clone() for task, tensor in TUNED.items()}
    compare(TUNED, BASE)
    assert all(torch.equal(before[task], TUNED[task]) for task in TUNED)


def shuffled(states):
    ids = {task: (rows[1], rows[0], *rows[2:]) for task, rows in states.example_ids.items()}
    return replace(states, example_ids=ids)


@pytest.mark.parametrize(
    ("states", "options", "message"),
    [
        (shuffled(TUNED), {}, r"same order for task 'task0', got 'task0/1' and 'task0/0' in row 0; .*one ProbeSet"),
        (random_states(1, examples=(23, 17)), {}, "got 23 and 24 examples"),
        (random_states(1, examples_digest="f" * 64), {}, r"digests f{16} and e{16}; extract both with one ProbeSet"),
        (random_states(1, tokens_digest="u" * 64), {}, r"one way of reading tiny, .*token_choice changed"),
        (random_states(1, layers=4), {}, r"one depth, got 4 and 3 layers; .*profile\.diff\(other\)"),
        (
            {"task0": TUNED["task0"]},
            {},
            r"got \[\] in the states only and \['task1'\] in the reference only; pass tasks=",
        ),
        (TUNED, {"tasks": ["task2"]}, r"tasks that both sides have, got \['task2'\]"),
        (TUNED, {"tasks": []}, "distinct tasks to compare"),
        (TUNED, {"layers": [9]}, r"layers that both sides have, got \[9\]"),
        (TUNED, {"layers": [3, 1]}, "increasing layers"),
        (TUNED, {"measure": "similarity"}, "expected a measure among"),
        (TUNED, {"estimator": "unbiased"}, "expected `estimator` 'debiased' or 'biased', got 'unbiased'"),
        (TUNED, {"confidence": 95}, "confidence between 0 and 1"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_way_out(states, options, message):
    with pytest.raises(ValueError, match=message):
        compare(states, ReferenceBank.from_states(BASE), **options)


def test_non_finite_states_are_refused():
    broken = {task: tensor.clone() for task, tensor in BASE.items()}
    broken["task1"][2, 5, 0] = torch.inf
    with pytest.raises(ValueError, match=r"(?i)finite"):
        compare(broken, dict(BASE))


def near_copies(seed=0, templates=16, copies=3, own=0.05):
    """States of templates that come with near copies, their noisy twin's, and the template of each row."""
    generator = torch.Generator().manual_seed(seed)

    def side():
        whole = torch.randn(2, templates, 1, 8, generator=generator)
        return (whole + own**0.5 * torch.randn(2, templates, copies, 8, generator=generator)).flatten(1, 2)

    x = side()
    return {"a": x}, {"a": x + side()}, torch.arange(templates).repeat_interleave(copies)


@pytest.mark.parametrize("measure", ["cka", "rbf_cka", "rsa"])
def test_near_copies_count_once_where_their_groups_are_given(measure):
    states, bank, labels = near_copies()
    apart, together = (
        compare(states, bank, measure=measure, groups=groups, diagnostics=False)
        for groups in (None, {"a": labels.tolist()})
    )
    width = {
        name: profile.matrix(column="high") - profile.matrix(column="low")
        for name, profile in (("apart", apart), ("together", together))
    }
    assert (width["together"] > 1.1 * width["apart"]).all()
    said = "near copies among the prompts count once; prompts that are none of each other: a 16 of 48"
    assert set(together.meta.notes) - set(apart.meta.notes) == {said}
    if measure == "cka":
        exact = cka_estimate(centered_gram(states["a"]), centered_gram(bank["a"]), groups=labels)
        np.testing.assert_allclose(together.matrix(), exact.value[None], atol=1e-6)
        assert (together.matrix("cka_robust") < apart.matrix("cka_robust")).all()


def test_groups_must_fit_and_be_enough():
    states, bank, labels = near_copies()
    few = compare(states, bank, groups={"a": (labels % 4).tolist()}, diagnostics=False)
    assert np.isnan(few.matrix()).all()
    assert set(few.frame["reason"]) == {"prompts are near copies of fewer than 5 prompts"}
    with pytest.raises(ValueError, match=r"groups with a number per example .*got lengths \{'b': 48\}"):
        compare(states, bank, groups={"b": labels.tolist()})
    with pytest.raises(ValueError, match='estimator="debiased" with groups'):
        compare(states, bank, estimator="biased", groups={"a": labels.tolist()})
