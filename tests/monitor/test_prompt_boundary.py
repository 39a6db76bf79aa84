"""Where the prompts of validation batches end, and what is said where that cannot be known."""

from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch

from lightning_layerscope.monitor.boundary import batch_entries, labels_of_batch, prompt_mask
from lightning_layerscope.monitor.loader_names import loader_names

IDS = torch.tensor([[5, 6, 7, 8, 9], [4, 5, 6, 7, 8]])
LABELS = torch.tensor([[-100, -100, 7, 8, 9], [-100, -100, -100, 7, 8]])
PROMPTS = torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 0, 0]]).bool()


@dataclass
class Fields:
    input_ids: torch.Tensor
    labels: torch.Tensor


@pytest.mark.parametrize(
    "batch",
    [
        {"input_ids": IDS, "labels": LABELS},
        Fields(IDS, LABELS),
        namedtuple("Named", "input_ids labels")(IDS, LABELS),
    ],
)
def test_labels_are_found_by_their_name(batch):
    labels = labels_of_batch(batch_entries(batch), IDS)
    assert torch.equal(prompt_mask(IDS, labels=labels), PROMPTS)


def test_labels_that_the_step_takes_out_of_its_batch_are_still_known():
    batch = {"input_ids": IDS, "labels": LABELS}
    entries = batch_entries(batch)
    batch.pop("labels")
    assert labels_of_batch(entries, IDS) is LABELS


def test_a_model_that_is_called_without_the_last_token_has_the_labels_of_the_others():
    entries = batch_entries({"input_ids": IDS, "labels": LABELS})
    labels = labels_of_batch(entries, IDS[:, :-1])
    assert torch.equal(prompt_mask(IDS[:, :-1], labels=labels), PROMPTS[:, :-1])


def test_labels_that_stand_one_position_early_end_the_same_prompts():
    early = torch.cat([LABELS[:, 1:], torch.full((2, 1), -100)], dim=1)
    assert torch.equal(prompt_mask(IDS, labels=early), PROMPTS)


def test_rows_without_labels_are_prompts_as_a_whole():
    for batch in (IDS, {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}, {"input_ids": IDS, "labels": None}):
        assert labels_of_batch(batch_entries(batch), IDS) is None
    assert labels_of_batch({"input_ids": IDS, "labels": torch.tensor([0, 1])}, IDS) is None  # of rows
    assert labels_of_batch({"input_ids": IDS, "labels": LABELS[:, :3]}, IDS) is None  # of another sequence
    assert prompt_mask(IDS, labels=IDS).all()


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ((IDS, LABELS), "'entry 1' of the batch could be them"),
        ({"input_ids": IDS, "targets": LABELS}, "'targets' of the batch could be them"),
        (["a text", "another"], "holds no tensors"),
        ({"input_ids": IDS.flip(1), "labels": LABELS}, "called with other tokens"),
    ],
)
def test_a_boundary_that_cannot_be_known_is_not_guessed(batch, message):
    with pytest.raises(ValueError, match=message):
        labels_of_batch(batch_entries(batch), IDS if "other" not in message else IDS[:, :4])


class Loader:
    """Stands for a dataloader."""


def test_names_follow_the_trainers_order_and_not_the_users():
    a, b, c = Loader(), Loader(), Loader()
    assert loader_names({"x": a, "y": b}, [b, a], None) == ["y", "x"]
    assert loader_names({"x": [a, b], "y": c}, [a, b, c], None) == ["x/0", "x/1", "y"]
    assert loader_names({"x": {"p": a, "q": (b,)}, "y": c}, [a, b, c], None) == ["x/p", "x/q/0", "y"]
    assert loader_names({"x": a, "y": a}, [a, a], None) == ["x", "y"]
    assert loader_names([a, [b, c]], [a, b, c], ["one", "two", "three"]) == ["one", "two", "three"]


def test_names_that_are_not_there_are_asked_for():
    a, b = Loader(), Loader()
    with pytest.raises(ValueError, match="return a dict"):
        loader_names([a, b], [a, b], None)
    with pytest.raises(ValueError, match="names 1 task for 2 dataloaders"):
        loader_names([a, b], [a, b], ["one"])
    with pytest.raises(ValueError, match="cannot be told from how they are nested"):
        loader_names({"x": {a}}, [a], None)
