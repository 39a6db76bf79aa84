"""Several signals of one model, and where they agree."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import norm

from lightning_layerscope import compare
from lightning_layerscope.transitions import SignalCut, SignalTable, find_signals

X = np.arange(1.0, 33)
RISE = np.clip((X - 9) / 6, 0, 1)


def similarities(seed=0, tasks=40):
    """A tuned model that moves towards the controls over 10-15, a base model that moves away over 10-21."""
    rng = np.random.default_rng(seed)
    level = 0.1 * rng.standard_normal((tasks, 1))
    noise = 0.02 * rng.standard_normal((2, tasks, 32))
    tuned = 0.6 + level * (1 - 0.8 * RISE) + 0.3 * RISE + noise[0]
    base = 0.65 + level - 0.3 * np.clip((X - 9) / 12, 0, 1) + noise[1]
    return tuned, base


def test_each_signal_is_cut_alone_and_agreement_is_stated():
    tuned, base = similarities()
    table = find_signals(tuned, base)
    cuts = {cut.name: cut for cut in table.cuts}
    assert list(cuts) == ["median", "spread", "tuned - base", "crossing"]
    assert (cuts["median"].start, cuts["median"].end) == (10, 15)
    assert abs(cuts["spread"].start - 10) <= 1
    assert cuts["crossing"].start in (10, 11)
    assert cuts["crossing"].end is None
    assert table.start.signals >= 3
    assert 9 <= table.start.low <= table.start.high <= 11
    assert f"By {table.start.signals} of 4 signals the transition starts at layer" in table.describe()


def test_ends_that_differ_are_not_agreed_on():
    cuts = [
        SignalCut("median", 9, 11, (8, 10), (11, 12), ""),
        SignalCut("spread", 9, 15, (9, 11), (14, 16), ""),
        SignalCut("tuned - base", 10, 18, (9, 11), (17, 20), ""),
        SignalCut.none("components", "too few prompts"),
    ]
    table = SignalTable(tuple(cuts), tuple(range(1, 33)), 0.9, 60)
    assert (table.start.low, table.start.high, table.start.signals) == (9, 10, 3)
    assert (table.end.low, table.end.high, table.end.signals) == (11, 18, 0)
    assert table.describe() == (
        "By 3 of 4 signals the transition starts at layers 9-10; the end is not agreed on: 11 to 18."
    )
    assert SignalTable.from_dict(json.loads(json.dumps(table.to_dict()))) == table
    nothing = SignalTable((SignalCut.none("median", "flat"),), (1, 2), 0.9, 60)
    assert nothing.describe() == "None of 1 signals names a transition."


def test_similarity_alone_gives_median_and_spread():
    assert [cut.name for cut in find_signals(similarities()[0]).cuts] == ["median", "spread"]


def test_the_components_of_a_profile_are_cut_where_prompts_are_enough():
    generator = torch.Generator().manual_seed(0)
    states = {f"task {number}": bends(generator) for number in range(8)}
    profile = compare(states, states)
    found = {cut.name: cut for cut in find_signals(profile).cuts}["components"]
    assert (found.start, found.end) == (5, 8)
    few = {cut.name: cut for cut in find_signals(compare(*[{t: x[:, :9] for t, x in states.items()}] * 2)).cuts}
    assert few["components"].reason.startswith("too few prompts: 9 in the middle task, more than ")
    constant = {task: x.clone().index_fill_(0, torch.tensor([0]), 1.0) for task, x in states.items()}
    assert {cut.name: cut for cut in find_signals(compare(constant, states)).cuts}["components"].start is not None


def bends(generator):
    """States whose number of components rises over the layers 5-8 of 12."""
    used = 4 + np.clip(np.arange(1, 13) - 4, 0, 4) * 3
    return torch.stack([torch.randn(64, 24, generator=generator) * (torch.arange(24) < count) for count in used])


def test_components_need_more_than_twice_their_number_of_prompts():
    tuned, _ = similarities()
    components = 20 + 30 * RISE + np.random.default_rng(0).standard_normal(tuned.shape)
    enough, few = (find_signals(tuned, components=components, prompts=prompts).cuts[-1] for prompts in (400, 60))
    assert (enough.name, enough.start, enough.end) == ("components", 10, 15)
    assert few.start is None
    assert few.reason.startswith("too few prompts: 60 in the middle task, more than 10")
    with pytest.raises(ValueError, match="expected the number of prompts per task"):
        find_signals(tuned, components=components)


def test_too_few_neighbours_are_counted_in_pairs():
    values = np.random.default_rng(0).random((8, 4))
    neighbours = np.where(np.arange(4) == 0, np.nan, values)
    cut = find_signals(values, neighbours=neighbours).cuts[-1]
    assert (cut.start, cut.reason) == (None, "only 3 pairs of layers, at least 4 needed")


def test_neighbours_lack_the_first_layer():
    tuned, _ = similarities()
    neighbours = 0.9 - 0.1 * np.clip((X - 9) / 6, 0, 1) + 0.01 * np.random.default_rng(0).standard_normal(tuned.shape)
    neighbours[:, 0] = np.nan
    cut = find_signals(tuned, neighbours=neighbours).cuts[-1]
    assert (cut.name, cut.start, cut.end) == ("neighbours", 10, 15)


@pytest.mark.parametrize(
    ("tuned", "base", "words"),
    [
        (similarities()[0], similarities()[0] + 1, "not above the base model at the last layer"),
        (similarities()[0], similarities()[0] - 1, "from the first layer on"),
        (np.zeros((4, 32)), np.ones((4, 32)), "only 4 tasks and 32 layers"),
    ],
)
def test_models_that_do_not_cross_are_said_not_to(tuned, base, words):
    cut = find_signals(tuned, base).cuts[-1]
    assert cut.start is None
    assert words in cut.reason


def test_arrays_must_fit():
    with pytest.raises(ValueError, match=r"expected base of shape \(40, 32\)"):
        find_signals(similarities()[0], np.zeros((40, 31)))
    with pytest.raises(ValueError, match=r"shape \(tasks, layers\)"):
        find_signals(np.zeros(3))


def pseudo_tasks(quartiles, ranks):
    """Tasks with these quartiles per layer: each keeps its rank over layers, with normal tails."""
    low, middle, high = np.asarray([[np.nan if q is None else q for q in row] for row in quartiles], dtype=float).T
    z = norm.ppf(ranks)[:, None]
    return middle + z * np.where(z < 0, middle - low, high - middle) / norm.ppf(0.75)


def test_the_papers_figure_supports_a_start_and_no_end(shared_data):
    figure = json.loads((shared_data / "paper_figure2.json").read_text())["fig2"]
    for seed in range(4):
        ranks = np.random.default_rng(seed).random(60)
        table = find_signals(pseudo_tasks(figure["sft"], ranks), pseudo_tasks(figure["base"], ranks))
        starts = [cut.start for cut in table.cuts if cut.start is not None]
        assert sum(8 <= start <= 11 for start in starts) >= 3
        assert table.end.signals == 0
        assert table.end.high - table.end.low >= 5
        assert "the end is not agreed on: " in table.describe()
