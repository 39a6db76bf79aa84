"""A beginning is known by its weights, not by the trainer's count of steps, and a run by its own probes."""

import warnings

import lightning.pytorch as pl
import pytest
from torch.utils.data import DataLoader

from lightning_layerscope import RunRecord, compare, extract_hidden_states
from lightning_layerscope.callbacks import Comparison, LayerSimilarityMonitor, TransformersLayerSimilarityMonitor

transformers = pytest.importorskip("transformers")

OPTIONS = {"every_n_steps": 2, "max_overhead": None, "report": False, "verbose": False}


class OutOfMemory(transformers.TrainerCallback):
    """Once, after some steps."""

    def __init__(self):
        self.done = False

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 3 and not self.done:
            self.done = True
            raise RuntimeError("CUDA out of memory. Tried to allocate")


def test_a_trainer_that_begins_again_by_itself_keeps_the_first_beginning(tiny, tmp_path):
    rows = [{"input_ids": row, "labels": row} for row in tiny.rows()]
    probes = tiny.probes(tasks=3, examples=6)
    monitor = TransformersLayerSimilarityMonitor(probes, **OPTIONS)
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=6, report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True,
        auto_find_batch_size=True, learning_rate=1e-2, seed=0,
    )  # fmt: skip
    trainer = transformers.Trainer(tiny.llama(), arguments, train_dataset=rows, callbacks=[OutOfMemory(), monitor])
    with pytest.warns(RuntimeWarning, match="begins again at step 0.*reference stays the model as it was before"):
        trainer.train()
    first, second = RunRecord.load(tmp_path / "layerscope"), RunRecord.load(tmp_path / "layerscope-2")
    assert (first.steps, second.steps) == ([0, 2], [0, 2, 4, 6])
    assert second.profile.meta.reference_digest == first.profile.meta.reference_digest
    assert (second.profile.matrix(step=0) < 0.999).any()  # trained weights, and no beginning
    true = compare(extract_hidden_states(trainer.model, probes), extract_hidden_states(tiny.llama(), probes))
    assert second.profile.matrix(step=6) == pytest.approx(true.matrix(), abs=1e-5)


class Break(pl.Callback):
    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == 3:
            raise ArithmeticError


def fit(tiny, tmp_path, module, *callbacks, steps=4):
    trainer = pl.Trainer(
        **tiny.quiet, max_steps=steps, accelerator="cpu", default_root_dir=str(tmp_path), callbacks=list(callbacks)
    )
    trainer.fit(module, DataLoader(tiny.rows(), batch_size=4))


def broken_off(tiny, tmp_path, monitor):
    module = tiny.module(pl)
    with pytest.raises(ArithmeticError):
        fit(tiny, tmp_path, module, monitor, Break())
    return module


def test_a_fit_after_one_that_was_broken_off_keeps_its_reference(tiny, tmp_path):
    monitor = LayerSimilarityMonitor(tiny.probes(tasks=3, examples=6), **OPTIONS)
    module = broken_off(tiny, tmp_path, monitor)
    digest = monitor.monitor.bank.digest
    with pytest.warns(RuntimeWarning, match="begins again at step 0"):
        fit(tiny, tmp_path, module, monitor)
    assert monitor.monitor.bank.digest == digest
    fit(tiny, tmp_path, module, monitor)  # ended as it should: the next run has its own beginning
    assert monitor.monitor.bank.digest != digest


def test_another_model_after_a_run_that_was_broken_off_begins_anew(tiny, tmp_path):
    monitor = LayerSimilarityMonitor(tiny.probes(tasks=3, examples=6), **OPTIONS)
    broken_off(tiny, tmp_path, monitor)
    fit(tiny, tmp_path, tiny.module(pl), monitor)
    assert monitor.monitor.record.profile.matrix(step=0) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("mid_run_baseline", ["refuse", "flag"])
def test_without_the_first_beginning_a_restart_is_no_beginning_either(tiny, tmp_path, monkeypatch, mid_run_baseline):
    from lightning_layerscope.monitor import active

    real = active.extract_hidden_states
    comparison = Comparison(mid_run_baseline=mid_run_baseline)
    monitor = LayerSimilarityMonitor(tiny.probes(tasks=3, examples=6), comparison=comparison, **OPTIONS)

    def fails(*_, **__):
        raise MemoryError

    monkeypatch.setattr(active, "extract_hidden_states", fails)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = broken_off(tiny, tmp_path, monitor)
    monkeypatch.setattr(active, "extract_hidden_states", real)
    with pytest.warns(RuntimeWarning, match="no baseline was taken before its first step"):
        fit(tiny, tmp_path, module, monitor)
    if mid_run_baseline == "refuse":
        assert not monitor.monitor.record.measurements
    else:
        assert monitor.monitor.record.profile.meta.reference == "restart"


def checkpointed(tiny, tmp_path):
    """A run's folder and a checkpoint in the middle of it."""
    from lightning.pytorch.callbacks import ModelCheckpoint

    keep = ModelCheckpoint(dirpath=tmp_path / "kept", every_n_train_steps=2, save_top_k=-1)
    monitor = LayerSimilarityMonitor(tiny.probes(tasks=3, examples=6), output_dir=str(tmp_path / "out"), **OPTIONS)
    options = {**tiny.quiet, "enable_checkpointing": True}
    trainer = pl.Trainer(
        **options, max_steps=4, accelerator="cpu", default_root_dir=str(tmp_path), callbacks=[keep, monitor]
    )
    tiny.seed()
    trainer.fit(tiny.module(pl), DataLoader(tiny.rows(), batch_size=4))
    [found] = (tmp_path / "kept").glob("*step=2*")
    return found


def resume(tiny, tmp_path, found, probes):
    monitor = LayerSimilarityMonitor(probes, output_dir=str(tmp_path / "out"), **OPTIONS)
    trainer = pl.Trainer(
        **tiny.quiet, max_steps=6, accelerator="cpu", default_root_dir=str(tmp_path), callbacks=[monitor]
    )
    tiny.seed()
    trainer.fit(tiny.module(pl), DataLoader(tiny.rows(), batch_size=4), ckpt_path=str(found))
    return monitor


def test_a_resumed_run_goes_on_with_its_own_probes(tiny, tmp_path):
    found = checkpointed(tiny, tmp_path)
    with pytest.warns(RuntimeWarning, match="goes on with its own, which were saved"):
        monitor = resume(tiny, tmp_path, found, tiny.probes(tasks=3, examples=6, longest=7))
    assert monitor.monitor.record.steps == [0, 2, 4, 6]
    digests = {one.profile.meta.tokens_digest for one in monitor.monitor.record.measurements}
    assert digests == {tiny.probes(tasks=3, examples=6).tokens_digest}


def test_a_resumed_run_whose_probes_are_lost_says_so(tiny, tmp_path):
    found = checkpointed(tiny, tmp_path)
    (tmp_path / "out" / "probes.json").unlink()
    with pytest.warns(RuntimeWarning, match="no file of those is left"):
        monitor = resume(tiny, tmp_path, found, tiny.probes(tasks=3, examples=6, longest=7))
    assert not monitor.monitor.record.measurements
