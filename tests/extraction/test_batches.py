"""Planning of forward passes."""

from __future__ import annotations

import pytest
import torch

from lightning_layerscope.extraction import plan_batches, select_tokens
from lightning_layerscope.probes import Probe, ProbeSet


def probe(task: str, *prompts: tuple[int, ...]) -> Probe:
    ids = tuple(f"{task}/{i}" for i in range(len(prompts)))
    return Probe(task, "c", ids, ids, prompts)


def spread(*lengths: int, start: int = 0) -> list[tuple[int, ...]]:
    return [tuple(range(start + 100 * i, start + 100 * i + n)) for i, n in enumerate(lengths)]


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("max_tokens", [1, 7, 40, 10_000])
def test_every_prompt_is_planned_once_and_whole(share: bool, max_tokens: int) -> None:
    shared = [(7, 8, 9, 10, *rest) for rest in spread(3, 1, 9, 4)]
    probes = ProbeSet([probe("a", *spread(5, 30, 2)), probe("b", *shared)])
    batches = plan_batches(probes, max_tokens, share_prefix=share)
    found = {row: batch.prefix + ids for batch in batches for row, ids in zip(batch.rows, batch.ids, strict=True)}
    expected = {(t, r): ids for t, p in enumerate(probes.values()) for r, ids in enumerate(p.input_ids)}
    assert found == expected
    assert sum(len(batch.rows) for batch in batches) == len(expected)
    assert any(batch.prefix == (7, 8, 9, 10) for batch in batches) == share
    for batch in batches:
        padded = len(batch.ids) * (max(map(len, batch.ids)) + len(batch.prefix) / 4)
        assert padded <= max_tokens or len(batch.ids) == 1
        assert [len(ids) for ids in batch.ids] == sorted(map(len, batch.ids), reverse=True)


def test_similar_lengths_lie_together_across_tasks() -> None:
    probes = ProbeSet([probe("a", *spread(50, 3)), probe("b", *spread(4, 49, start=1000))])
    first, second = plan_batches(probes, 100)
    assert first.rows == ((0, 0), (1, 1))
    assert second.rows == ((1, 0), (0, 1))


def test_one_prefix_of_all_tasks_is_preferred_where_it_saves_more() -> None:
    start = tuple(range(50))
    probes = ProbeSet([probe(f"t{i}", (*start, 60 + i, 1), (*start, 60 + i, 2)) for i in range(5)])
    batches = plan_batches(probes, 10_000, share_prefix=True)
    assert [batch.prefix for batch in batches] == [start]  # not five prefixes of 51


def test_every_prompt_keeps_a_token_of_its_own() -> None:
    probes = ProbeSet([probe("a", (1, 2, 3, 4), (1, 2, 3, 4, 5), (1, 2, 3, 4, 6))])
    (batch,) = plan_batches(probes, 1000, share_prefix=True)
    assert batch.prefix == (1, 2, 3)
    assert min(map(len, batch.ids)) == 1


def test_a_prefix_that_saves_little_is_not_shared() -> None:
    probes = ProbeSet([probe("a", *[(1, *rest) for rest in spread(40, 40, 40)])])
    assert all(not batch.prefix for batch in plan_batches(probes, 1000, share_prefix=True))


def test_halves_keep_order_and_prefix() -> None:
    probes = ProbeSet([probe("a", *[(1, 2, 3, *rest) for rest in spread(1, 2, 3)])])
    (batch,) = plan_batches(probes, 1000, share_prefix=True)
    first, second = batch.halves()
    assert first.rows + second.rows == batch.rows
    assert first.ids + second.ids == batch.ids
    assert first.prefix == second.prefix == (1, 2, 3)
    assert batch.unshared().ids[0] == (1, 2, 3, 200, 201, 202)


def test_a_limit_of_no_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="max_tokens_per_batch must be at least 1, got 0"):
        plan_batches(ProbeSet([probe("a", (1, 2))]), 0)


MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]], dtype=torch.bool)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("last", "Unknown token choice 'last': expected \"last_prompt\""),
        ("first_0", "Unknown token choice"),
        ("first_4", "a prompt has only 3 tokens"),
        (lambda mask: mask[:, :2].float(), r"weights of the mask's shape \(2, 4\), but gave \(2, 2\)"),
        (lambda mask: torch.ones(2, 4), "zero on padding"),
        (lambda mask: mask.float() * float("nan"), "finite weights"),
        (lambda mask: torch.zeros(2, 4), "not zero on all tokens"),
        (lambda mask: None, "but gave NoneType"),
    ],
)
def test_token_choices_that_do_not_suit_are_refused(choice: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select_tokens(choice, MASK)  # type: ignore[arg-type]


@pytest.mark.parametrize("choice", ["last_prompt", "mean_prompt", "first_2", lambda mask: mask.float() / 2])
def test_pooling_ignores_what_stands_in_the_padding(choice: object) -> None:
    hidden = torch.randn(2, 4, 5)
    hidden[0, 3] = float("nan")
    pooled = select_tokens(choice, MASK).pool(hidden)  # type: ignore[arg-type]
    expected = {
        "last_prompt": torch.stack([hidden[0, 2], hidden[1, 3]]),
        "mean_prompt": torch.stack([hidden[0, :3].mean(0), hidden[1].mean(0)]),
        "first_2": hidden[:, :2].mean(1),
    }.get(choice if isinstance(choice, str) else "", torch.stack([hidden[0, :3].sum(0), hidden[1].sum(0)]) / 2)
    torch.testing.assert_close(pooled, expected)


def test_prompts_of_other_lengths_have_a_pass_of_their_own_where_padding_costs_more():
    lengths = (40, 39, 38, 20, 20, 19, 3)
    probes = ProbeSet([probe("a", *(tuple(range(1, n + 1)) for n in lengths))])
    (together,) = plan_batches(probes, 1000)
    assert [len(ids) for ids in together.ids] == list(lengths)
    apart = plan_batches(probes, 1000, max_padding=8)
    assert [[len(ids) for ids in batch.ids] for batch in apart] == [[40, 39, 38], [20, 20, 19], [3]]
    exact = plan_batches(probes, 1000, max_padding=0)
    assert all(len({len(ids) for ids in batch.ids}) == 1 for batch in exact)
