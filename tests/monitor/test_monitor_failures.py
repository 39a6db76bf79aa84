"""What goes wrong in a measurement, a logger or a process: one warning, and training does what it would have done."""

import os
import signal
import time
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader

from lightning_layerscope.callbacks import LayerSimilarityMonitor, Output
from lightning_layerscope.callbacks import lightning as monitor_module
from lightning_layerscope.measurements import RunRecord
from lightning_layerscope.monitor import active


def fit(tiny, tmp_path, monitor, **options):
    tiny.seed()
    module, resume = tiny.module(pl), options.pop("ckpt_path", None)
    callbacks = [*options.pop("callbacks", []), *([monitor] if monitor else [])]
    settings = {"max_steps": tiny.steps, "accelerator": "cpu", "default_root_dir": str(tmp_path)}
    trainer = pl.Trainer(**{**tiny.quiet, **settings, **options}, callbacks=callbacks)
    trainer.fit(module, DataLoader(tiny.rows(), batch_size=4, shuffle=True), ckpt_path=resume)
    return module, trainer


def watch(tiny, out, **options):
    settings = {"every_n_steps": 2, "max_overhead": None, "report": False, "verbose": False, "output_dir": str(out)}
    return LayerSimilarityMonitor(tiny.probes(tasks=3, examples=6), **{**settings, **options})


def during(monkeypatch, call, act):
    """Do something in the middle of a measurement: in its n-th extraction."""
    real, calls = active.extract_hidden_states, []

    def extract(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            act(*args)
        return real(*args, **kwargs)

    monkeypatch.setattr(active, "extract_hidden_states", extract)


def test_states_that_are_not_finite_are_told_and_the_next_measurement_is_taken(tiny, tmp_path, monkeypatch):
    def poison(module, *_):
        layer = module.model.model.layers[1].mlp.down_proj.weight
        kept = layer.detach().clone()
        layer.data[0, 0] = float("nan")
        undo.append(lambda: layer.data.copy_(kept))

    undo = []
    during(monkeypatch, 2, poison)

    class Undo(pl.Callback):
        def on_train_batch_start(self, *_):
            while undo:
                undo.pop()()

    monitor = watch(tiny, tmp_path / "out")
    with pytest.warns(RuntimeWarning, match=r"at step 2.*finite"):
        fit(tiny, tmp_path, monitor, callbacks=[Undo()])
    assert RunRecord.load(tmp_path / "out").steps == [0, 4, 6]
    assert monitor.monitor.failures.counts == {"measurement": 1}
    assert RunRecord.load(tmp_path / "out").config["failures"] == {"measurement": 1}


def test_a_model_that_a_measurement_changes_is_told_and_not_measured_again(tiny, tmp_path):
    writes = []

    class Drifting(pl.Callback):
        """From step 3 on, a hook of the model writes to a weight in every evaluation, past its version counter."""

        def on_train_batch_end(self, trainer, module, *_):
            def write(layer, *_):
                if not layer.training:
                    layer.weight.data.view(-1)[0] += 1.0
                    writes.append(trainer.global_step)

            if trainer.global_step == 3:
                module.model.model.layers[0].mlp.down_proj.register_forward_hook(write)

    monitor = watch(tiny, tmp_path / "out")
    with pytest.warns(
        RuntimeWarning, match=r"at step 4.*down_proj\.weight' was changed in place.*so nothing more is measured"
    ):
        fit(tiny, tmp_path, monitor, callbacks=[Drifting()], max_steps=8)
    assert monitor.monitor.record.steps == [0, 2]
    assert monitor.monitor.failures.counts == {"measurement": 1}
    assert set(writes) == {4}


def test_sigterm_in_a_measurement_stops_training_as_it_would_have(tiny, tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    during(monkeypatch, 2, lambda *_: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(0.05)))
    monitor = watch(tiny, tmp_path / "out")
    try:
        fit(tiny, tmp_path, monitor)
    except BaseException as error:
        assert type(error).__name__ == "SIGTERMException"  # noqa: PT017 - named by some Lightnings only
    assert signal.getsignal(signal.SIGTERM) == before
    record = RunRecord.load(tmp_path / "out")
    assert record.steps[0] == 0
    assert record.steps[-1] < tiny.steps
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


class Gone:
    """A logger whose server is gone."""

    def __init__(self, when):
        self.when = when

    def _call(self, name):
        if name == self.when:
            raise ConnectionError("the server is gone")

    def start(self, record):
        self._call("start")

    def log(self, measurement, record, host_step):
        self._call("log")

    def finish(self, record, status):
        self._call("finish")


@pytest.mark.parametrize(("when", "count"), [("start", 1), ("log", 4), ("finish", 1)])
def test_a_logger_that_is_gone_warns_once_and_files_are_complete(tiny, tmp_path, monkeypatch, when, count):
    monkeypatch.setattr(monitor_module.LayerSimilarityMonitor, "_make_sinks", lambda *_: [Gone(when)])
    monitor = watch(tiny, tmp_path / "out")
    with pytest.warns(RuntimeWarning, match="server is gone") as caught:
        fit(tiny, tmp_path, monitor)
    assert len([one for one in caught if "server is gone" in str(one.message)]) == 1
    assert monitor.monitor.failures.counts == {"Gone": count}
    assert RunRecord.load(tmp_path / "out").steps == [0, 2, 4, 6]


def test_a_full_disk_is_survived_and_made_up_for(tiny, tmp_path, monkeypatch):
    real, calls = RunRecord.save, []

    def save(self, folder):
        calls.append(1)
        if len(calls) in (2, 3):
            raise OSError(28, "No space left on device")
        return real(self, folder)

    monkeypatch.setattr(RunRecord, "save", save)
    monitor = watch(tiny, tmp_path / "out")
    with pytest.warns(RuntimeWarning, match="can be written to and has room") as caught:
        fit(tiny, tmp_path, monitor)
    assert len([one for one in caught if "has room" in str(one.message)]) == 1
    assert RunRecord.load(tmp_path / "out").steps == [0, 2, 4, 6]


def test_prompts_that_could_not_be_written_cost_the_logger_nothing_else(tiny, tmp_path, monkeypatch):
    from lightning_layerscope import ProbeSet

    wandb = pytest.importorskip("wandb")

    def save(self, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ProbeSet, "save", save)
    monitor = watch(tiny, tmp_path / "out", output=Output(upload_prompts=True))
    logger = pl.loggers.WandbLogger(save_dir=tmp_path, offline=True)
    with pytest.warns(RuntimeWarning, match="No space left"):
        fit(tiny, tmp_path, monitor, logger=logger, log_every_n_steps=1)
    assert any(key.startswith("layerscope/") for key in dict(logger.experiment.summary))
    wandb.finish()
    assert monitor.monitor.failures.counts == {"writing": 1}


def test_warnings_as_errors_do_not_end_the_run(tiny, tmp_path, monkeypatch):
    def fails(*_):
        raise ValueError("broken")

    during(monkeypatch, 2, fails)  # pytest turns warnings into errors
    _, trainer = fit(tiny, tmp_path, watch(tiny, tmp_path / "out"))
    assert trainer.global_step == tiny.steps


def test_a_checkpoint_leads_back_from_another_folder(tiny, tmp_path):
    from lightning.pytorch.callbacks import ModelCheckpoint

    keep = ModelCheckpoint(dirpath=tmp_path / "kept", every_n_train_steps=4, save_top_k=-1)
    fit(tiny, tmp_path, watch(tiny, tmp_path / "first"), callbacks=[keep], enable_checkpointing=True)
    [found] = (tmp_path / "kept").glob("*step=4*")
    torch.load(found, weights_only=True)
    before = RunRecord.load(tmp_path / "first")
    fit(tiny, tmp_path, watch(tiny, tmp_path / "second"), ckpt_path=str(found))
    first, second = RunRecord.load(tmp_path / "first"), RunRecord.load(tmp_path / "second")
    assert first.steps == before.steps
    assert second.steps == [0, 2, 4, 6]
    assert second.run_id == first.run_id
    assert second.profile.meta.reference_digest == first.profile.meta.reference_digest
    assert (tmp_path / "second" / "reference").is_dir()


def test_going_back_to_a_checkpoint_keeps_what_was_measured_after_it(tiny, tmp_path):
    from lightning.pytorch.callbacks import ModelCheckpoint

    keep = ModelCheckpoint(dirpath=tmp_path / "kept", every_n_train_steps=2, save_top_k=-1)
    fit(tiny, tmp_path, watch(tiny, tmp_path / "out"), callbacks=[keep], enable_checkpointing=True)
    [found] = (tmp_path / "kept").glob("*step=2*")
    (tmp_path / "out" / "profile.parquet" / ".step-0000000002.parquet.killed").write_text("half")
    (tmp_path / "out" / ".config.json.killed").write_text("half")
    fit(tiny, tmp_path, watch(tiny, tmp_path / "out"), ckpt_path=str(found))
    assert RunRecord.load(tmp_path / "out").steps == [0, 2, 4, 6]
    given_up = (tmp_path / "out" / "given-up").rglob("*.parquet/*")
    assert sorted(path.name for path in given_up) == ["step-0000000004.parquet", "step-0000000006.parquet"]
    assert not (tmp_path / "out" / "profile.parquet" / ".step-0000000002.parquet.killed").exists()
    assert not (tmp_path / "out" / ".config.json.killed").exists()


def test_fast_dev_run_measures_twice_and_writes_nothing(tiny, tmp_path):
    monitor = watch(tiny, tmp_path / "out")
    fit(tiny, tmp_path, monitor, fast_dev_run=True, max_steps=-1)
    assert monitor.monitor.record.steps == [0, 1]
    assert not (tmp_path / "out").exists()


def test_the_budget_stretches_the_cadence_of_a_run(tiny, tmp_path, monkeypatch, capsys):
    """On a clock of its own: a step takes 1 s, a measurement 2 s, and every step would like one."""
    clock = SimpleNamespace(now=0.0)
    real = active.extract_hidden_states

    def slow(*args, **kwargs):
        clock.now += 2.0
        return real(*args, **kwargs)

    monkeypatch.setattr(active, "extract_hidden_states", slow)

    class Tick(pl.Callback):
        def on_train_batch_start(self, *_):
            clock.now += 1.0

    monitor = watch(tiny, tmp_path / "out", every_n_steps=1, max_overhead=0.1, verbose=True)
    monitor.monitor.budget._clock = lambda: clock.now
    with pytest.warns(
        RuntimeWarning, match=r"the first and the last measurement take 4.0 s, more than max_overhead=0.1"
    ):
        fit(tiny, tmp_path, monitor, max_steps=30, callbacks=[Tick()])
    budget, record = monitor.monitor.budget, monitor.monitor.record
    assert record.steps == [0, 18, 30]  # 2 s are a tenth of 20 s: 2 s of the first one and 18 steps
    assert budget.chosen <= 0.1 * budget.elapsed
    assert budget.forced == pytest.approx(4.0)
    assert record.measurements[-1].overhead == pytest.approx(6 / 36)
    assert record.config["left_out"] == 28
    said = capsys.readouterr().out
    assert "3 tasks, 18 prompts" in said
    assert "4.0 s in all that the run always pays" in said
    assert "left out the measurement of step 1" in said
