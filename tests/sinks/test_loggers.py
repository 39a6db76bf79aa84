"""Sinks are found for the loggers of both Lightning namespaces, and scalars reach any of them."""

import csv
import importlib
import io

import numpy as np
import pytest
from PIL import Image

from lightning_layerscope.sinks import ScalarSink, Sink, TensorBoardSink, WandbSink, sinks_for
from lightning_layerscope.sinks.pictures import draw_pictures
from lightning_layerscope.sinks.tracker import TrackerSink

NAMESPACES = ("lightning.pytorch", "pytorch_lightning")


class Logger:
    def __init__(self):
        self.rows = []

    def log_metrics(self, row, step):
        self.rows.append((step, row))


def test_scalars_go_to_any_logger(kit):
    logger = Logger()
    record = kit.make_record(tasks=16, clusters=4, layers=12)
    sink = ScalarSink(logger)
    assert isinstance(sink, Sink)
    kit.replay(sink, record, host_step=lambda step: step * 2)
    assert [step for step, _ in logger.rows] == [0, 40, 80]
    row = logger.rows[-1][1]
    mean = record.measurements[-1].profile.mean_curve()["value"]
    assert row["layerscope/cka/layer_12"] == pytest.approx(mean.iloc[-1])
    assert row["layerscope/transition/start_layer"] == record.measurements[-1].transition.start
    assert row["layerscope/step"] == 40
    assert all(isinstance(value, int | float) for _, row in logger.rows for value in row.values())
    assert not any("/task/" in key for key in row)
    detailed = Logger()
    kit.replay(ScalarSink(detailed, per_task_keys=True), record)
    assert sum("/task/" in key for key in detailed.rows[-1][1]) == 16 * 12 - 1, "one value is undefined"
    with pytest.raises(TypeError, match="expected a logger with log_metrics"):
        ScalarSink(object())


def test_no_logger_is_no_sink():
    assert sinks_for(None) == sinks_for([]) == sinks_for(False) == sinks_for(True) == []
    with pytest.raises(TypeError, match="got int"):
        sinks_for([3])


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_csv_of_lightning(namespace, tmp_path, kit):
    loggers = importlib.import_module(f"{namespace}.loggers")
    logger = loggers.CSVLogger(tmp_path)
    record = kit.make_record(tasks=4, clusters=2, layers=4)
    (sink,) = sinks_for(logger)
    assert isinstance(sink, TrackerSink)
    kit.replay(sink, record, status="exception")
    (path,) = tmp_path.rglob("metrics.csv")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["layerscope/step"] for row in rows] == ["0", "20", "40"]
    expected = record.measurements[1].profile.mean_curve()["value"].iloc[3]
    assert float(rows[1]["layerscope/cka/layer_04"]) == pytest.approx(expected)


def test_tensorboard_of_lightning(tmp_path, kit):
    pytest.importorskip("tensorboard")
    from lightning.pytorch.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path)
    record = kit.make_record(tasks=4, clusters=2, layers=4)
    (sink,) = sinks_for([logger])
    assert isinstance(sink, TensorBoardSink)
    kit.replay(sink, record, host_step=lambda step: step + 3)
    logger.finalize("success")
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    logged = events.Scalars("layerscope/cka/cluster/cluster_1")
    assert [event.step for event in logged] == [3, 23, 43]
    assert logged[0].value == 1.0
    keys = ["curve/layers", *(f"heatmap/{name}" for name in ("layer_x_task", "layer_x_step", "layer_x_layer"))]
    keys += [f"heatmap/task_x_task/{number}" for number in (1, 2, 3)]
    assert sorted(events.Tags()["images"]) == sorted(f"layerscope/{key}" for key in keys)
    assert [event.step for event in events.Images("layerscope/curve/layers")] == [3, 23, 43]
    last = events.Images("layerscope/heatmap/layer_x_task")[-1].encoded_image_string
    drawn = {picture.key: picture for picture in draw_pictures(record.measurements[-1], record)}
    pixels = np.asarray(Image.open(io.BytesIO(last)).convert("RGB"))
    np.testing.assert_array_equal(pixels, drawn["layerscope/heatmap/layer_x_task"].image().convert("RGB"))


def test_a_summary_writer_and_a_sink_of_ones_own_are_taken_as_they_are(tmp_path, kit):
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        own = TensorBoardSink(lambda: writer)
        assert isinstance(own, Sink)
        found = sinks_for([writer, own])
        assert isinstance(found[0], TensorBoardSink)
        assert found[1] is own


def test_a_writer_that_is_not_there_is_said(kit):
    record = kit.make_record((0,), tasks=2, clusters=1, layers=2)
    sink = TensorBoardSink(lambda: None)
    with pytest.raises(RuntimeError, match="the trainer has opened no SummaryWriter"):
        sink.log(record.measurements[0], record, 0)
    sink.finish(record, "finished")


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_wandb_of_lightning_beside_the_losses_of_the_run(namespace, tmp_path, kit):
    import wandb

    logger = importlib.import_module(f"{namespace}.loggers").WandbLogger(
        offline=True, save_dir=tmp_path, project="test"
    )
    (sink,) = sinks_for(logger)
    assert isinstance(sink, WandbSink)
    logger.log_metrics({"loss": 3.0}, step=7)
    kit.replay(sink, kit.make_record(tasks=4, clusters=2, layers=4), host_step=lambda step: step + 8)
    logger.log_metrics({"loss": 2.0}, step=60)
    logger.experiment.finish()
    wandb.teardown()
    run = kit.read_offline(tmp_path)
    assert run.globs == ["*"], "Lightning's own"
    assert run.metrics["layerscope/cka/layer_01"] == "layerscope/step"
    assert run.metrics["layerscope/profile/clusters"] == "layerscope/step"
    assert [row["trainer/global_step"] for row in run.history if "loss" in row] == [7, 60]
    assert run.column("layerscope/cost/seconds") == [0.25] * 3
    assert [row["loss"] for row in run.history if "loss" in row] == [3.0, 2.0]
    assert [row.get("layerscope/step") for row in run.history] == [None, 0, 20, 40]


def test_a_run_that_is_there_already_is_used_and_its_keys_are_defined(offline_run, kit):
    from pytorch_lightning.loggers import WandbLogger

    run, read = offline_run()
    logger = WandbLogger(offline=True)
    assert logger.experiment is run
    kit.replay(sinks_for(logger)[0], kit.make_record((0,), tasks=4, clusters=2, layers=4))
    found = read()
    assert found.globs == []
    assert found.metrics["layerscope/heatmap/layer_x_task"] == "layerscope/picture_step"
    assert "trainer/global_step" in found.metrics


def test_a_bare_run_is_taken_too(offline_run):
    run, _ = offline_run()
    (sink,) = sinks_for([run], host_step_key="train/global_step")
    assert isinstance(sink, WandbSink)


@pytest.mark.parametrize("namespace", ["lightning", "pytorch_lightning"])
def test_other_ranks_get_no_sink_and_a_dummy_is_left_alone(namespace, kit):
    fabric = "lightning.fabric" if namespace == "lightning" else "lightning_fabric"
    dummy = importlib.import_module(f"{fabric}.loggers.logger")._DummyExperiment()
    kit.replay(WandbSink(dummy), kit.make_record((0,), tasks=2, clusters=1, layers=2))

    class WandbLogger:
        experiment = dummy

        def log_metrics(self, row, step):
            raise AssertionError("a dummy was logged to")

    assert sinks_for([WandbLogger()]) == []
