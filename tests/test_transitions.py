"""The detector against planted boundaries, against curves without any, and against the paper's figure."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from lightning_layerscope import LayerProfile, Transition, find_transitions
from lightning_layerscope.transitions.families import shapes

LAYERS = np.arange(1, 33, dtype=float)
RAMP = np.clip((LAYERS - 9) / 6, 0, 1)
SHAPES = {
    "ramp": RAMP,
    "three levels": np.select([LAYERS <= 9, LAYERS <= 15], [0.0, 0.5], 1.0),
    "logistic": 1 / (1 + np.exp(-(LAYERS - 12.5) / 1.2)),
    "drifting": RAMP + 0.15 * LAYERS / 32,
    "peaked": RAMP - 0.3 * np.clip((LAYERS - 15) / 17, 0, 1),
}


def curves(shape, *, noise, seed, tasks=60, change=0.4, correlation=0.7):
    """Task curves with their own level and amount of change, and noise that neighbouring layers share (AR(1))."""
    rng = np.random.default_rng(seed)
    fresh = rng.standard_normal((tasks, len(shape)))
    wiggle = fresh.copy()
    for layer in range(1, len(shape)):
        wiggle[:, layer] = correlation * wiggle[:, layer - 1] + np.sqrt(1 - correlation**2) * fresh[:, layer]
    level = 0.3 + 0.1 * rng.standard_normal((tasks, 1))
    amount = change * (1 + 0.3 * rng.standard_normal((tasks, 1)))
    return level + amount * shape + noise * wiggle


def hits(shape, *, noise, trials=20, within=1, tasks=60):
    found = [
        find_transitions(curves(shape, noise=noise, seed=seed, tasks=tasks), resamples=1) for seed in range(trials)
    ]
    good = [f.found and abs(f.start - 10) <= within and abs(f.end - 15) <= within for f in found]
    return float(np.mean(good))


@pytest.mark.parametrize("name", SHAPES)
def test_planted_boundaries_are_found_within_one_layer(name):
    assert hits(SHAPES[name], noise=0.05) >= 0.95
    assert hits(SHAPES[name], noise=0.1) >= 0.9


def test_clean_boundaries_are_found_exactly_and_strong_noise_mostly():
    assert hits(RAMP, noise=0.05, within=0) == 1
    assert hits(RAMP, noise=0.2) >= 0.85


@pytest.mark.parametrize("correlation", [0.0, 0.7, 0.95])
def test_flat_curves_have_no_transition(correlation):
    trials = [curves(0 * LAYERS, noise=0.1, seed=seed, correlation=correlation) for seed in range(80)]
    assert sum(find_transitions(trial, resamples=1).found for trial in trials) == 0


def test_a_change_that_hardly_repeats_across_tasks_is_no_transition():
    found = [find_transitions(curves(RAMP, noise=0.8, seed=seed, tasks=8), resamples=1) for seed in range(60)]
    doubtful = [f for f in found if "repeats too little across tasks" in f.reason]
    assert doubtful
    assert not any(f.found for f in doubtful)
    assert all(f.shape in ("step", "ramp", "three levels", "ramp on a line", "two bends") for f in doubtful)


def test_bootstrap_interval_covers_the_planted_boundaries():
    found = [find_transitions(curves(RAMP, noise=0.2, seed=seed), resamples=300) for seed in range(40)]
    start = np.mean([f.start_interval[0] <= 10 <= f.start_interval[1] for f in found])
    end = np.mean([f.end_interval[0] <= 15 <= f.end_interval[1] for f in found])
    assert min(start, end) >= 0.85
    # An interval that covers because it is everything would say nothing.
    assert np.mean([f.start_interval[1] - f.start_interval[0] for f in found]) < 6


def test_falling_curves_are_cut_as_rising_ones():
    rising = curves(RAMP, noise=0.05, seed=0)
    up, down = find_transitions(rising), find_transitions(1 - rising)
    assert (up.start, up.end, up.start_interval, up.end_interval) == (
        down.start,
        down.end,
        down.start_interval,
        down.end_interval,
    )
    assert up.levels[0] < up.levels[1] < up.levels[2]
    assert down.levels[0] > down.levels[1] > down.levels[2]


@pytest.mark.parametrize(
    ("curve", "shape", "words"),
    [
        (LAYERS / 32, "line", "evenly over all layers"),
        (np.clip(LAYERS / 12, 0, 1), "flat at the end", "no shared part"),
        (np.clip((LAYERS - 20) / 12, 0, 1), "flat at the start", "no refinement part"),
    ],
)
def test_other_shapes_are_named_and_are_no_transition(curve, shape, words):
    for seed in range(5):
        found = find_transitions(curves(curve, noise=0.02, seed=seed))
        assert not found.found
        assert found.shape == shape
        assert words in found.reason
        assert found.start is found.end is found.start_interval is found.end_interval is None
        assert found.shared == found.transition == found.refinement == ()


def test_exact_line_and_exact_constant_are_none():
    assert find_transitions(np.tile(LAYERS / 32, (10, 1))).shape == "line"
    constant = find_transitions(1 - 1e-9 * np.random.default_rng(0).random((10, 32)))
    assert "constant" in constant.reason
    assert not constant.found


def test_exact_step_is_one_layer_long():
    found = find_transitions(np.tile(np.where(LAYERS <= 9, 1.0, 0.2), (10, 1)))
    assert (found.start, found.end, found.shape) == (10, 10, "step")
    assert found.shared == tuple(range(1, 10))
    assert found.transition == (10,)
    assert found.refinement == tuple(range(11, 33))


def test_few_tasks_name_no_boundary():
    found = find_transitions(curves(RAMP, noise=0.02, seed=0, tasks=4))
    assert found.reason == "only 4 tasks, at least 8 needed"
    assert find_transitions(curves(RAMP, noise=0.02, seed=0, tasks=8)).found


def test_few_layers_name_no_boundary():
    assert find_transitions(np.random.default_rng(0).random((20, 3))).reason == "only 3 layers, at least 4 needed"
    assert find_transitions(np.tile([0.0, 0.0, 1.0, 1.0], (20, 1))).start == 3


def test_undefined_cells_are_filled_in_or_left_out_and_stated():
    values = curves(RAMP, noise=0.05, seed=0)
    values[:, 20] = np.nan
    values[3, 5] = np.nan
    values[4, 10:] = np.nan
    found = find_transitions(values)
    assert (found.start, found.end, found.tasks) == (10, 15, 59)
    assert 21 not in found.layers
    assert found.notes == (
        "layers 21 left out: undefined for more than half of the tasks",
        "1 of 60 tasks left out: undefined at more than half of the layers",
        "1 of 1829 cells filled in from their neighbouring layers",
    )
    assert "1 of 60 tasks left out" in found.describe()
    assert find_transitions(np.full((10, 32), np.nan)).reason == "only 0 layers, at least 4 needed"


def test_layer_numbers_need_not_be_consecutive_and_embeddings_do_not_count():
    values = curves(RAMP, noise=0.02, seed=0)
    some = find_transitions(values[:, ::2], layers=list(range(1, 33, 2)))
    assert (some.start, some.end) == (11, 15)
    with_embeddings = np.concatenate([np.full((60, 1), 5.0), values], axis=1)
    full = find_transitions(with_embeddings, layers=range(33))
    assert (full.start, full.end, full.layers[0]) == (10, 15, 1)


def test_the_answer_is_repeatable_and_does_not_depend_on_scale_or_order_of_tasks():
    values = curves(RAMP, noise=0.1, seed=1)
    assert find_transitions(values) == find_transitions(values)
    scaled = find_transitions(-7 * values + 3)
    assert (scaled.start, scaled.end) == (find_transitions(values).start, find_transitions(values).end)
    shuffled = find_transitions(values[::-1])
    assert (shuffled.start, shuffled.end) == (find_transitions(values).start, find_transitions(values).end)


def test_bases_are_orthonormal_and_free_of_the_constant():
    for shape in shapes(tuple(range(1, 9)))[1:]:
        products = shape.bases @ shape.bases.transpose(0, 2, 1)
        np.testing.assert_allclose(products, np.broadcast_to(np.eye(products.shape[-1]), products.shape), atol=1e-12)
        np.testing.assert_allclose(shape.bases.sum(axis=-1), 0, atol=1e-12)


def test_fit_is_the_least_squares_fit():
    curve = np.random.default_rng(0).random(12)
    centred = curve - curve.mean()
    ramp = next(shape for shape in shapes(tuple(range(1, 13))) if shape.name == "ramp")
    chosen = ramp.best(centred[None])
    residual = np.square(centred - ramp.predict(chosen, centred[None])[0]).sum()
    positions = np.arange(12.0)
    every = []
    for i in range(1, 12):
        for j in range(i + 2, 11):
            design = np.stack([np.ones(12), np.clip((positions - i) / (j - i), 0, 1)], axis=1)
            every.append(np.square(curve - design @ np.linalg.lstsq(design, curve, rcond=None)[0]).sum())
    assert residual == pytest.approx(min(every), rel=1e-9)


def profile_of(values, **meta):
    tasks = [f"task{row}" for row in range(len(values))]
    rows = [
        (0, layer + 1, task, "c", "cka", "debiased", value, value, value, "")
        for task, line in zip(tasks, values, strict=True)
        for layer, value in enumerate(line)
    ]
    columns = ["step", "layer", "task", "cluster", "measure", "estimator", "value", "low", "high", "reason"]
    return LayerProfile(pd.DataFrame(rows, columns=columns), {"measure": "cka", **meta})


def test_a_profile_says_what_was_cut():
    values = 1 - curves(RAMP, noise=0.05, seed=0)
    drift = find_transitions(profile_of(values, reference="initial"))
    assert drift.signal == "drift from initial (cka)"
    assert drift.kind == "drift transition"
    assert drift.describe().startswith("Drift transition in drift from initial (cka): shared layers 1-9 ")
    study = find_transitions(profile_of(values, reference="control", model_name="tuned"))
    assert study.signal == "tuned against control (cka)"
    assert study.kind == "transition"
    assert find_transitions(profile_of(values), signal="mine").signal == "mine"
    assert (drift.start, drift.end) == (10, 15)


def test_description_names_parts_intervals_and_confidence():
    text = find_transitions(curves(RAMP, noise=0.02, seed=0), confidence=0.8).describe()
    assert re.search(r"shared layers 1-9 .* transition 10-15 .* refinement 16-32 .* 80% confidence over 60 tasks", text)


def test_a_transition_survives_json():
    for found in (find_transitions(curves(RAMP, noise=0.1, seed=0)), find_transitions(np.zeros((3, 32)))):
        assert Transition.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: find_transitions(np.zeros(5)), r"shape \(tasks, layers\)"),
        (lambda: find_transitions(np.zeros((9, 5)), layers=[1, 2]), "with 2 layers, got"),
        (lambda: find_transitions(np.zeros((9, 2)), layers=[2, 1]), "increasing layer numbers"),
        (lambda: find_transitions(np.full((9, 5), np.inf)), "infinite one for row 0 at layer 1"),
        (lambda: find_transitions(np.zeros((9, 5)), confidence=90), "confidence between 0 and 1"),
        (lambda: find_transitions(np.zeros((9, 5)), resamples=0), "at least one bootstrap sample"),
        (lambda: find_transitions(np.zeros((9, 5)), step=3), "expected a LayerProfile"),
        (lambda: find_transitions(np.random.default_rng(0).random((9, 8)), allowed=["curve"]), "expected shapes among"),
        (lambda: find_transitions(profile_of(np.zeros((9, 5))), layers=[1]), "no `layers` beside a profile"),
    ],
)
def test_malformed_input_says_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
