"""What is known of Lightning, torchmetrics, accelerate, W&B, bitsandbytes and the hub still holds."""

import importlib
import io
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lightning_layerscope.compat.accelerate import execution_device, is_dispatched
from lightning_layerscope.compat.bitsandbytes import repacks_in_evaluation
from lightning_layerscope.compat.deepspeed import has_partitioned_parameters
from lightning_layerscope.compat.huggingface_hub import model_revision, require_loadable
from lightning_layerscope.compat.known_warnings import without_training_notes
from lightning_layerscope.compat.lightning import (
    drop_anonymous,
    is_dummy_experiment,
    is_tensorboard_logger,
    is_wandb_logger,
    logging_step,
)
from lightning_layerscope.compat.tensorboard import add_png, add_row
from lightning_layerscope.compat.torchmetrics import add_states, empty_list_states, is_synced
from lightning_layerscope.compat.trackers import tracker_kind
from lightning_layerscope.compat.wandb import is_run, is_wandb_error

NAMESPACES = ["lightning.pytorch", "pytorch_lightning"]


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_lightnings_loggers_of_trackers_are_known_by_name(namespace: str) -> None:
    loggers = importlib.import_module(f"{namespace}.loggers")
    for name, kind in (("CSVLogger", "csv"), ("CometLogger", "comet"), ("MLFlowLogger", "mlflow")):
        logger = getattr(loggers, name)
        assert tracker_kind(logger.__new__(logger)) == kind


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_lightnings_step_for_logging_counts_batches(namespace: str, tmp_path: Path) -> None:
    pl = importlib.import_module(namespace)
    steps: list[tuple[int, int]] = []

    class Module(pl.LightningModule):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(1, 1)

        def training_step(self, batch: Any, index: int) -> Any:
            return self.linear(batch[0]).sum()

        def on_train_batch_end(self, *arguments: Any) -> None:
            steps.append((logging_step(self.trainer), self.trainer.global_step))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(3, 1)))
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    pl.Trainer(max_epochs=1, default_root_dir=str(tmp_path), enable_model_summary=False, **quiet).fit(Module(), loader)
    assert steps == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_lightnings_loggers_are_recognised(namespace: str, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    loggers = importlib.import_module(f"{namespace}.loggers")
    logger = loggers.WandbLogger(save_dir=str(tmp_path), offline=True)
    assert is_wandb_logger(logger)
    assert "anonymous" in logger._wandb_init
    drop_anonymous(logger)
    assert "anonymous" not in logger._wandb_init
    assert not is_wandb_logger(loggers.CSVLogger(str(tmp_path)))
    assert not is_tensorboard_logger(loggers.CSVLogger(str(tmp_path)))
    assert is_tensorboard_logger(loggers.TensorBoardLogger(str(tmp_path)))
    fabric = "lightning.fabric" if namespace == "lightning.pytorch" else "lightning_fabric"
    assert is_dummy_experiment(importlib.import_module(f"{fabric}.loggers.logger")._DummyExperiment())


def test_runs_and_errors_of_weights_and_biases_are_recognised() -> None:
    wandb = pytest.importorskip("wandb")
    assert is_run(wandb.sdk.wandb_run.Run.__new__(wandb.sdk.wandb_run.Run))
    assert not is_run(wandb.Settings())
    assert is_wandb_error(wandb.errors.UsageError("no"))
    assert not is_wandb_error(ValueError("no"))


def test_states_of_metrics_are_found_added_and_their_value_forgotten() -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    metric, other = torchmetrics.CatMetric(), torchmetrics.CatMetric()
    assert list(empty_list_states(metric)) == ["value"]
    metric.update(torch.tensor([1.0]))
    other.update(torch.tensor([2.0]))
    assert list(empty_list_states(metric)) == []
    assert metric.compute().tolist() == 1.0
    add_states(metric, other.metric_state)
    assert sorted(metric.compute().tolist()) == [1.0, 2.0]
    fresh = torchmetrics.CatMetric()
    add_states(fresh, other.metric_state)
    assert fresh.compute().tolist() == 2.0  # without the warning that nothing was seen
    assert not is_synced(metric)


def test_models_that_accelerate_dispatched_are_recognised() -> None:
    accelerate = pytest.importorskip("accelerate")
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    assert not is_dispatched(model)
    assert execution_device(model) is None
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    assert is_dispatched(model)
    assert execution_device(model) == torch.device("cpu")


def test_partitioned_parameters_of_deepspeed() -> None:
    model = nn.Linear(2, 2)
    assert not has_partitioned_parameters(model)
    model.weight.ds_id = 0  # type: ignore[assignment]
    assert has_partitioned_parameters(model)


def test_four_bit_layers_of_bitsandbytes_are_recognised() -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="needs bitsandbytes: pip install bitsandbytes")
    assert repacks_in_evaluation(bitsandbytes.nn.Linear4bit(4, 4))
    assert not repacks_in_evaluation(bitsandbytes.nn.Linear8bitLt(4, 4))
    assert not repacks_in_evaluation(nn.Linear(4, 4))


def test_tensorboard_takes_a_png_file_as_it_is_and_other_writers_its_pixels(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from PIL import Image
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    from lightning_layerscope.sinks.picture import Picture

    buffer = io.BytesIO()
    Image.new("P", (3, 2)).save(buffer, "PNG")
    picture = Picture("a/b", "step 7", buffer.getvalue())
    with SummaryWriter(tmp_path) as writer:
        add_png(writer, "a/b", picture, 7)
        add_row(writer, {"c": 0.5, "d": 2.0}, 7)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    (event,) = events.Images("a/b")
    assert (event.step, event.width, event.height) == (7, 3, 2)
    assert event.encoded_image_string == picture.png
    assert [[(each.step, each.value) for each in events.Scalars(key)] for key in ("c", "d")] == [[(7, 0.5)], [(7, 2.0)]]

    class Other:
        def add_image(self, key: str, pixels: Any, step: int, dataformats: str) -> None:
            self.got = key, pixels.shape, step, dataformats

        def add_scalar(self, key: str, value: float, step: int) -> None:
            self.scalar = key, value, step

    other = Other()
    add_png(other, "a/b", picture, 7)
    assert other.got == ("a/b", (2, 3, 3), 7, "HWC")
    add_row(other, {"c": 0.5}, 7)
    assert other.scalar == ("c", 0.5, 7)


def test_notes_of_training_are_left_out_and_others_are_not() -> None:
    with without_training_notes():
        warnings.warn("The 'train_dataloader' does not have many workers which may be a bottleneck.", stacklevel=1)
        with pytest.warns(UserWarning, match="another"):
            warnings.warn("another", stacklevel=1)


def test_a_revision_comes_from_the_cache_where_the_hub_is_not_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    commit = "a" * 40
    folder = tmp_path / "models--somebody--model"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True)
    (folder / "snapshots" / commit / "config.json").write_text(json.dumps({}))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.utils._cache_manager.HF_HUB_CACHE", str(tmp_path), raising=False)
    assert model_revision("somebody/model") == commit
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    require_loadable("somebody/model", "model")  # found in the cache, so that nobody is asked
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for unknown in ("somebody/else", "not a name at all"):
        with pytest.raises(FileNotFoundError, match="neither a folder here nor can it be reached"):
            model_revision(unknown)
