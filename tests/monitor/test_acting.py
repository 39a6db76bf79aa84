"""What a run does with what was found, where it was asked to, and that it does nothing where it was not."""

import logging
import sys
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch.utils.data import DataLoader

from lightning_layerscope.callbacks import (
    Actions,
    Extraction,
    LayerSimilarityMonitor,
    Signals,
    TransformersLayerSimilarityMonitor,
)
from lightning_layerscope.callbacks.loop import watch
from lightning_layerscope.measurements.alert import Alert
from lightning_layerscope.monitor import monitor as monitor_module
from lightning_layerscope.sinks import WandbSink
from lightning_layerscope.sinks.base import AlertSink

OPTIONS = {"every_n_steps": 2, "max_overhead": None, "report": False, "verbose": False}
STOP = Actions(stop_when="collapse")
RANKS = Signals(effective_rank=True)


@pytest.fixture
def alarmed(monkeypatch):
    """Every run gives one alert, at step 4."""

    def judge(measurement, earlier, baseline, *, tolerance):
        if measurement.step == 4:
            measurement.alerts.append(Alert("collapse", "step 4: planted"))

    monkeypatch.setattr(monitor_module, "judge", judge)


def probes_of(tiny):
    return tiny.probes(tasks=4, examples=6, answers=3)


def fit(tiny, folder, monitor, *callbacks, steps=8, loggers=False, **trainer):
    tiny.seed(1)
    quiet = tiny.quiet | {"accelerator": "cpu", "default_root_dir": str(folder)} | trainer
    run = pl.Trainer(**quiet, max_steps=steps, callbacks=[*callbacks, monitor])
    module = tiny.module(pl)
    run.fit(module, DataLoader(tiny.rows(), batch_size=8), DataLoader(tiny.rows()[:8], batch_size=8))
    return run, module


class Watcher(pl.Callback):
    def on_train_batch_end(self, trainer, pl_module, *_):
        pl_module.log("mine", 1.5)


def test_lightnings_callbacks_watch_the_runs_numbers_beside_the_users_own(tiny, tmp_path):
    monitor = LayerSimilarityMonitor(
        probes_of(tiny),
        signals=Signals(answer_loss=True),
        actions=Actions(callback_metrics=True),
        output_dir=str(tmp_path / "out"),
        **OPTIONS,
    )
    # No loss falls below 0, so that none is good enough and the second look ends the run.
    stopping = EarlyStopping("layerscope/answers/loss", mode="max", patience=1, check_on_train_epoch_end=False)
    saving = ModelCheckpoint(
        dirpath=tmp_path / "saved", monitor="layerscope/answers/loss", every_n_train_steps=2, save_top_k=1
    )
    trainer, _ = fit(
        tiny, tmp_path, monitor, Watcher(), stopping, saving, val_check_interval=2, enable_checkpointing=True, steps=40
    )
    record = monitor.monitor.record
    losses = {each.step: each.behaviour.scores["answers/loss"][""].value for each in record.measurements}
    assert trainer.global_step < 40, "the loss falls with training, and mode max was to end it"
    assert trainer.callback_metrics["layerscope/answers/loss"].item() == pytest.approx(losses[max(losses)])
    assert trainer.callback_metrics["layerscope/cka/layer_02"].item() == pytest.approx(
        record.measurements[-1].task_mean[1]
    )
    assert trainer.callback_metrics["mine"].item() == 1.5
    assert "val_loss" in trainer.callback_metrics
    assert saving.best_model_score.item() in [pytest.approx(loss) for loss in losses.values()]


def test_nothing_reaches_the_trainer_unasked(tiny, tmp_path, alarmed):
    monitor = LayerSimilarityMonitor(
        probes_of(tiny), signals=Signals(answer_loss=True, effective_rank=True), output_dir=str(tmp_path), **OPTIONS
    )
    trainer, _ = fit(tiny, tmp_path, monitor, max_epochs=3)
    assert trainer.global_step == 8
    assert not any("layerscope" in key for key in trainer.callback_metrics)


def test_watching_alone_changes_no_bit_of_the_training(tiny, tmp_path):
    def run(folder, *monitors):
        tiny.seed(1)
        module = tiny.module(pl)
        trainer = pl.Trainer(**tiny.quiet, max_steps=6, accelerator="cpu", callbacks=list(monitors))
        trainer.fit(module, DataLoader(tiny.rows(), batch_size=8))
        return tiny.fingerprint(module)

    monitor = LayerSimilarityMonitor(
        probes_of(tiny),
        signals=Signals(answer_loss=True, effective_rank=True),
        actions=Actions(callback_metrics=True, stop_when="collapse", alerts=True),
        output_dir=str(tmp_path / "out"),
        **OPTIONS,
    )
    assert tiny.differences(run(tmp_path), run(tmp_path, monitor)) == []


def test_lightning_ends_with_the_step_that_gave_the_alert(tiny, tmp_path, alarmed, caplog):
    monitor = LayerSimilarityMonitor(probes_of(tiny), signals=RANKS, actions=STOP, output_dir=str(tmp_path), **OPTIONS)
    with caplog.at_level(logging.WARNING):
        trainer, _ = fit(tiny, tmp_path, monitor)
    assert trainer.global_step == 4
    assert monitor.monitor.record.steps == [0, 2, 4]
    assert monitor.monitor.record.config["stopped"] == "step 4: planted"
    told = [line.getMessage() for line in caplog.records if "planted" in line.getMessage()]
    assert told == [
        "layerscope: alert: step 4: planted",
        "layerscope: training ends, as stop_when asks: step 4: planted",
    ]


def test_transformers_ends_too(tiny, tmp_path, alarmed):
    transformers = pytest.importorskip("transformers")
    rows = [{"input_ids": row, "labels": row} for row in tiny.rows()]
    monitor = TransformersLayerSimilarityMonitor(probes_of(tiny), signals=RANKS, actions=STOP, **OPTIONS)
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=8, report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True
    )
    trainer = transformers.Trainer(tiny.llama(), arguments, train_dataset=rows, callbacks=[monitor])
    trainer.train()
    assert trainer.state.global_step == 4


def test_a_loop_of_ones_own_is_told(tiny, tmp_path, alarmed):
    model, steps = tiny.llama(), 0
    with watch(model, probes_of(tiny), signals=RANKS, actions=STOP, output_dir=str(tmp_path), **OPTIONS) as monitor:
        while steps < 8 and not monitor.should_stop:
            steps += 1
            monitor.step()
    assert steps == 4


def test_metrics_for_callbacks_are_lightnings_alone(tiny, tmp_path):
    transformers = pytest.importorskip("transformers")
    asked = Actions(callback_metrics=True)
    with pytest.raises(ValueError, match="of Lightning's trainer"):
        watch(tiny.llama(), probes_of(tiny), actions=asked)
    rows = [{"input_ids": row, "labels": row} for row in tiny.rows()]
    arguments = transformers.TrainingArguments(output_dir=str(tmp_path), max_steps=2, report_to=[], use_cpu=True)
    monitor = TransformersLayerSimilarityMonitor(probes_of(tiny), actions=asked)
    with pytest.raises(ValueError, match="of Lightning's trainer"):
        transformers.Trainer(tiny.llama(), arguments, train_dataset=rows, callbacks=[monitor]).train()


class Phone:
    """A sink that can alert."""

    def __init__(self):
        self.calls = []

    def start(self, record):
        pass

    def log(self, measurement, record, host_step):
        self.calls.append(measurement.step)

    def finish(self, record, status):
        pass

    def alert(self, alert):
        self.calls.append(alert.text)


@pytest.mark.parametrize("asked", [True, False])
def test_trackers_alert_once_behind_the_measurement_and_where_asked(tiny, tmp_path, alarmed, asked):
    phone = Phone()
    assert isinstance(phone, AlertSink)
    monitor = LayerSimilarityMonitor(
        probes_of(tiny),
        signals=RANKS,
        actions=Actions(alerts=asked),
        loggers=[phone],
        output_dir=str(tmp_path),
        **OPTIONS,
    )
    fit(tiny, tmp_path, monitor, max_epochs=3)
    assert phone.calls == [0, 2, 4, *(["step 4: planted"] if asked else []), 6, 8]


def test_wandb_alerts_by_its_own_call():
    sent = []

    class Run:
        config, summary = {}, {}

        def log(self, *_, **__):
            pass

        define_metric = log

        def alert(self, title, text):
            sent.append((title, text))

    WandbSink(Run()).alert(Alert("forgetting", "step 8: the loss has risen"))
    assert sent == [("layerscope: forgetting", "step 8: the loss has risen")]


def test_trackio_alerts_by_its_own_call_and_trackers_without_one_stay_silent(monkeypatch):
    from lightning_layerscope.sinks.tracker import Tracker, TrackerSink
    from lightning_layerscope.sinks.trackers.trackio import TrackioTracker

    sent = []
    stand_in = SimpleNamespace(alert=lambda **call: sent.append(call))
    monkeypatch.setitem(sys.modules, "trackio", stand_in)
    for tracker in (TrackioTracker(None), Tracker(None)):
        TrackerSink(tracker).alert(Alert("collapse", "step 8: the states of layer 3"))
    assert sent == [{"title": "layerscope: collapse", "text": "step 8: the states of layer 3"}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"actions": Actions(stop_when="forgetting")},
            "stop_when='forgetting' waits for an alert that needs retention=",
        ),
        ({"actions": Actions(stop_when=["collapse"])}, r"needs Signals\(effective_rank=True\)"),
        (
            {"actions": STOP, "signals": RANKS, "extraction": Extraction(ranks="zero")},
            'leave extraction.ranks at "share"',
        ),
    ],
)
def test_nothing_waits_for_what_cannot_come(tiny, options, message):
    with pytest.raises(ValueError, match=message):
        LayerSimilarityMonitor(probes_of(tiny), **options)


def test_an_unknown_alert_is_named():
    with pytest.raises(
        ValueError, match=r"stop_when must be one of 'forgetting', 'collapse', got 'forgeting'. Did you"
    ):
        Actions(stop_when="forgeting")


def test_the_numbers_stay_through_a_fit(tiny, tmp_path):
    """Canary: Lightning keeps what is put into its callback_metrics until the fit ends."""
    from lightning_layerscope.compat.lightning_trainer import add_callback_metrics

    seen = []

    class Look(pl.Callback):
        def on_train_start(self, trainer, pl_module):
            add_callback_metrics(trainer, {"layerscope/x": 2.0})

        def on_validation_end(self, trainer, pl_module):
            seen.append(trainer.callback_metrics.get("layerscope/x"))

        on_train_epoch_end = on_validation_end

    trainer = pl.Trainer(**tiny.quiet, max_epochs=2, num_sanity_val_steps=0, accelerator="cpu", callbacks=[Look()])
    trainer.fit(tiny.module(pl), DataLoader(tiny.rows(), batch_size=24), DataLoader(tiny.rows()[:8], batch_size=8))
    assert len(seen) == 4
    assert all(torch.equal(value, torch.tensor(2.0)) for value in seen)
