"""HiddenStates: what it accepts, and that it survives the disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lightning_layerscope import HiddenStates


def make(dtype: torch.dtype = torch.float32) -> HiddenStates:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "a/b.c": torch.randn(2, 3, 4, generator=generator).to(dtype),
        "z": torch.randn(2, 5, 4, generator=generator).to(dtype),
        "m": torch.randn(2, 4, 4, generator=generator).to(dtype),
    }
    return HiddenStates(
        tensors=tensors,
        layers=(1, 3),
        num_layers=3,
        clusters={"a/b.c": "x", "z": "y", "m": "y"},
        example_ids={task: tuple(f"{task}/{i}" for i in range(t.shape[1])) for task, t in tensors.items()},
        examples_digest="e" * 64,
        tokens_digest="t" * 64,
        model_name="tiny",
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_round_trip(tmp_path: Path, dtype: torch.dtype) -> None:
    states = make(dtype)
    states.save(tmp_path / "states")
    again = HiddenStates.load(tmp_path / "states")
    assert list(again) == list(states) == ["a/b.c", "z", "m"]
    assert all(torch.equal(again[task], states[task]) and again[task].dtype == dtype for task in states)
    for field in ("layers", "num_layers", "clusters", "example_ids", "examples_digest", "tokens_digest", "model_name"):
        assert getattr(again, field) == getattr(states, field)


def test_views_of_one_tensor_can_be_saved(tmp_path: Path) -> None:
    whole = torch.arange(24.0).reshape(1, 6, 4)
    ids = {"a": ("1", "2"), "b": ("3", "4", "5", "6")}
    HiddenStates({"a": whole[:, :2], "b": whole[:, 2:]}, (1,), 1, {}, ids).save(tmp_path / "s")
    assert torch.equal(HiddenStates.load(tmp_path / "s")["b"], whole[:, 2:])


def test_saving_refuses_to_overwrite_unasked(tmp_path: Path) -> None:
    make().save(tmp_path / "states")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        make().save(tmp_path / "states")
    make(torch.float16).save(tmp_path / "states", overwrite=True)
    assert HiddenStates.load(tmp_path / "states")["z"].dtype == torch.float16
    assert [path.name for path in tmp_path.iterdir()] == ["states"]


def test_saving_never_replaces_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="something else"):
        make().save(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_failed_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("lightning_layerscope.extraction.states.save_file", full)
    with pytest.raises(OSError, match="No space"):
        make().save(tmp_path / "states")
    assert list(tmp_path.iterdir()) == []


def test_loading_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"manifest\.json is missing"):
        HiddenStates.load(tmp_path)
    folder = make().save(tmp_path / "states")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "version": 99}))
    with pytest.raises(ValueError, match=r"version 99, expected .* version 1"):
        HiddenStates.load(folder)
    (folder / "manifest.json").write_text(json.dumps({**manifest, "tasks": ["a/b.c"]}))
    with pytest.raises(ValueError, match="names 1 task, the file holds 3"):
        HiddenStates.load(folder)


def test_means_are_per_task_and_layer() -> None:
    states = make(torch.bfloat16)
    means = states.means()
    assert means.shape == (3, 2, 4)
    assert means.dtype == torch.float32
    torch.testing.assert_close(means[1, 0], states["z"][0].float().mean(0), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        ((2, 1), (2, 3, 4), "must ascend"),
        ((1, 4), (2, 3, 4), r"within 0\.\.3"),
        ((1,), (2, 3, 4), r"expected hidden states of shape \(layers 1, examples 3, width\), got \(2, 3, 4\)"),
        ((1, 2), (2, 2, 4), "examples 3"),
    ],
)
def test_what_does_not_fit_together_is_refused(layers: tuple[int, ...], shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HiddenStates({"a": torch.zeros(shape)}, layers, 3, {}, {"a": ("1", "2", "3")})


def test_states_without_ids_are_refused() -> None:
    with pytest.raises(ValueError, match="'a' has hidden states but no example_ids"):
        HiddenStates({"a": torch.zeros(1, 1, 1)}, (1,), 1, {}, {})
