"""What a transformers.Trainer reports to gets the results, and it is said at the start what is logged where."""

import pytest

from lightning_layerscope import RunRecord
from lightning_layerscope.callbacks import TransformersLayerSimilarityMonitor
from lightning_layerscope.monitor.reporting import message, reporting_of
from lightning_layerscope.sinks import sinks_for

transformers = pytest.importorskip("transformers")


def train(tiny, folder, monitor, **options):
    rows = [{"input_ids": row, "labels": row} for row in tiny.rows()]
    processing = options.pop("processing_class", None)
    settings = {"max_steps": 2, "save_strategy": "no", "disable_tqdm": True, "use_cpu": True}
    arguments = transformers.TrainingArguments(output_dir=str(folder), **{**settings, **options})
    trainer = transformers.Trainer(
        tiny.llama(), arguments, train_dataset=rows, callbacks=[monitor], processing_class=processing
    )
    trainer.train()


def test_tensorboard_gets_the_results(tiny, tmp_path, monkeypatch, capsys):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    monitor = TransformersLayerSimilarityMonitor(
        tiny.probes(tasks=3, examples=6), every_n_steps=1, max_overhead=None, report=False
    )
    train(tiny, tmp_path / "out", monitor, report_to=["tensorboard"])
    assert not monitor.monitor.failures.counts
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    rows = events.Scalars("layerscope/cka/layer_01")
    assert [row.step for row in rows] == [0, 1, 2]
    assert rows[0].value == pytest.approx(1.0, abs=1e-6)
    assert "logs scalars and pictures to TensorBoard." in capsys.readouterr().out


def test_what_gets_nothing_is_named():
    class Logger:
        def log_metrics(self, row, step):
            pass

    assert message([]) == "logs to files only."
    assert message(sinks_for([Logger()])) == "logs scalars to Logger."
    reporting = reporting_of(None, ["mlflow", "azure_ml"])
    assert reporting.loggers(()) == {}
    text = message([], reporting.without((), ()))
    assert text.startswith("logs to files only; nothing to mlflow, azure_ml: pass its own run, or an object with")
    assert reporting_of(None, "none").without((), ()) == []
    assert reporting.without((), [Logger()]) == [], "the user has seen to it"


def test_the_trainer_keeps_its_own_callbacks(tiny, tmp_path):
    """One is put before them while it trains, so that trackers are still open at the end."""
    seen = []

    class Last(transformers.TrainerCallback):
        def on_train_end(self, args, state, control, **kwargs):
            seen.append(("ended", monitor.monitor.record.steps[-1]))

    monitor = TransformersLayerSimilarityMonitor(
        tiny.probes(tasks=3, examples=6), every_n_steps=5, report=False, verbose=False
    )
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=2, save_strategy="no", disable_tqdm=True, use_cpu=True, report_to="none"
    )
    rows = [{"input_ids": row, "labels": row} for row in tiny.rows()]
    trainer = transformers.Trainer(tiny.llama(), arguments, train_dataset=rows, callbacks=[Last(), monitor])
    before = list(trainer.callback_handler.callbacks)
    trainer.train()
    assert trainer.callback_handler.callbacks == before
    assert seen == [("ended", 2)], "the last measurement comes before other callbacks are told of the end"


def test_active_mode_does_without_the_trainer_itself(tiny, tmp_path, monkeypatch):
    from lightning_layerscope.callbacks import transformers as module

    def lost(callback):
        raise LookupError("called in another way")

    monkeypatch.setattr(module, "calling_trainer", lost)
    monitor = TransformersLayerSimilarityMonitor(
        tiny.probes(tasks=3, examples=6), every_n_steps=1, max_overhead=None, report=False, verbose=False
    )
    train(tiny, tmp_path / "active", monitor, report_to=[])
    assert monitor.monitor.record.steps == [0, 1, 2]
    passive = TransformersLayerSimilarityMonitor(mode="passive", report=False, verbose=False)
    with pytest.warns(RuntimeWarning, match="called in another way"):
        train(tiny, tmp_path / "passive", passive, report_to=[])
    assert not passive.monitor.record.measurements


class Processor:
    """Stands for that of a vision language model: it holds a tokenizer and is called with images as well."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def __call__(self, images=None, text=None, **options):
        raise AssertionError("the tokenizer is asked")


def test_a_processor_stands_for_its_tokenizer(tiny, tmp_path):
    from lightning_layerscope.monitor.probe_source import resolve_probes
    from lightning_layerscope.tasks import toy_tasks
    from lightning_layerscope.training import train_tokenizer

    tokenizer = train_tokenizer(toy_tasks(train=8, test=8).texts("train"), vocab_size=300)
    options = {"examples_per_task": 4, "min_examples": 4}
    plain, inside = (
        resolve_probes(TransformersLayerSimilarityMonitor("toy", probe_options=options).settings, tokenizer=given)
        for given in (tokenizer, Processor(tokenizer))
    )
    assert inside.tokens_digest == plain.tokens_digest


def test_a_baseline_costs_no_share_of_a_run_that_has_not_begun(tiny, tmp_path):
    """Before the first step measuring is all that was done: a share of .99 would say nothing."""
    monitor = TransformersLayerSimilarityMonitor(
        tiny.probes(tasks=3, examples=6), every_n_steps=1, max_overhead=None, verbose=False
    )
    train(tiny, tmp_path, monitor, report_to=[])
    overheads = [measurement.overhead for measurement in RunRecord.load(tmp_path / "layerscope").measurements]
    assert str(overheads[0]) == "nan"
    assert all(0 < share < 1 for share in overheads[1:])
