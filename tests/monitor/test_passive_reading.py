"""Passive mode reads the prompts of evaluations and nothing else, in both trainers."""

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader

from lightning_layerscope import ProbeSet
from lightning_layerscope.callbacks import LayerSimilarityMonitor, Passive, TransformersLayerSimilarityMonitor
from lightning_layerscope.compat.transformers_trainer import EvaluationSteps
from lightning_layerscope.probes import Probe

transformers = pytest.importorskip("transformers")

LENGTH, PROMPT = 10, 6


def answered(tiny, count=48):
    """Rows of a prompt and an answer; labels are on the answer alone."""
    rows = []
    for ids in tiny.rows(count, LENGTH):
        labels = ids.clone()
        labels[:PROMPT] = -100
        rows.append({"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels})
    return rows


def prompts_of(tiny, rows):
    """The probes that active mode would read of the same rows."""
    probes = []
    for task, start in (("a", 0), ("b", 8)):
        ids = tuple(tuple(row["input_ids"][:PROMPT].tolist()) for row in rows[start : start + 8])
        names = tuple(f"{task}{position}" for position in range(8))
        probes.append(Probe(task, task, names, names, ids))
    return ProbeSet(probes, vocab_size=tiny.vocabulary)


def train(tiny, folder, monitor, others=(), **options):
    tiny.seed()
    rows = answered(tiny)
    settings = {
        "max_steps": 4,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
        "seed": 0,
    }
    settings |= {"eval_strategy": "steps", "eval_steps": 2, "eval_on_start": True, "learning_rate": 1e-2}
    loss = options.pop("compute_loss_func", None)
    trainer = transformers.Trainer(
        tiny.llama(),
        transformers.TrainingArguments(output_dir=str(folder), **{**settings, **options}),
        train_dataset=rows,
        eval_dataset={"a": rows[:8], "b": rows[8:16]},
        callbacks=[*others, monitor],
        compute_loss_func=loss,
    )
    trainer.train()
    return trainer


def own_loss(outputs, labels, num_items_in_batch=None):
    return torch.nn.functional.cross_entropy(outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


@pytest.mark.parametrize("options", [{"label_smoothing_factor": 0.1}, {"compute_loss_func": own_loss}])
def test_labels_that_the_trainer_takes_out_of_the_call_end_the_prompts(tiny, tmp_path, options):
    passive = TransformersLayerSimilarityMonitor(mode="passive", report=False, verbose=False)
    train(tiny, tmp_path / "passive", passive, **options)
    active = TransformersLayerSimilarityMonitor(
        prompts_of(tiny, answered(tiny)), every_n_steps=2, max_overhead=None, report=False, verbose=False
    )
    train(tiny, tmp_path / "active", active, **options)
    assert passive.monitor.record.steps == [0, 2, 4]
    assert not passive.monitor.failures.counts
    mine, theirs = passive.monitor.record.profile.matrix(), active.monitor.record.profile.matrix()
    assert mine == pytest.approx(theirs, abs=1e-5)
    assert (mine < 0.999).any()


def test_forward_passes_between_evaluations_are_not_read(tiny, tmp_path):
    class Samples(transformers.TrainerCallback):
        """Generates in evaluation mode, where a naive reader takes it for the evaluation's."""

        def _generate(self, model):
            was = model.training
            model.eval()
            with torch.no_grad():
                model(input_ids=torch.full((3, 4), 7))
            model.train(was)

        def on_step_begin(self, args, state, control, model=None, **kwargs):
            self._generate(model)

        def on_prediction_step(self, args, state, control, model=None, **kwargs):
            self._generate(model)

    monitor = TransformersLayerSimilarityMonitor(mode="passive", report=False, verbose=False)
    trainer = train(tiny, tmp_path, monitor, [Samples()])
    assert monitor.monitor.record.profile.meta.examples == {"a": 8, "b": 8}
    assert "prediction_step" not in vars(trainer)


def test_the_trainers_own_step_comes_back(tiny):
    class Trainer:
        def prediction_step(self, model, inputs, loss_only):
            return inputs

    trainer, calls = Trainer(), []
    steps = EvaluationSteps(trainer, calls.append, lambda: calls.append("end"))
    assert trainer.prediction_step(None, "batch", False) == "batch"
    assert calls == ["batch", "end"]
    steps.detach()
    assert not vars(trainer)
    trainer.prediction_step = own = lambda *_: None
    EvaluationSteps(trainer, calls.append, calls.clear).detach()
    assert trainer.prediction_step is own


def test_every_n_steps_chooses_among_evaluations(tiny, tmp_path):
    monitor = TransformersLayerSimilarityMonitor(mode="passive", every_n_steps=3, report=False, verbose=False)
    train(tiny, tmp_path, monitor, eval_steps=1, max_steps=6)
    assert monitor.monitor.record.steps == [0, 3, 6]


def fit(tiny, tmp_path, monitor, *, own_loss, loaders=None, others=(), **options):
    tiny.seed()
    base = type(tiny.module(pl))

    class Module(base):
        def training_step(self, batch, index):
            return self.model(**batch).loss

        def validation_step(self, batch, index, dataloader_idx=0):
            if not own_loss:
                self.model(**batch)
                return
            labels = batch.pop("labels")  # before the model is called
            logits = self.model(**batch).logits
            torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())

    rows = answered(tiny)
    loaders = loaders or {"a": DataLoader(rows[:8], batch_size=4), "b": DataLoader(rows[8:16], batch_size=4)}
    settings = {"max_steps": 4, "num_sanity_val_steps": -1, "val_check_interval": 2, "accelerator": "cpu"}
    trainer = pl.Trainer(
        **{**tiny.quiet, **settings, **options}, callbacks=[*others, monitor], default_root_dir=str(tmp_path)
    )
    trainer.fit(Module(), DataLoader(rows, batch_size=4), loaders)


def test_labels_that_a_module_keeps_for_its_own_loss_end_the_prompts(tiny, tmp_path):
    records = []
    for own in (False, True):
        monitor = LayerSimilarityMonitor(mode="passive", report=False, verbose=False)
        fit(tiny, tmp_path / str(own), monitor, own_loss=own)
        assert not monitor.monitor.failures.counts
        records.append(monitor.monitor.record)
    assert records[0].steps == records[1].steps == [0, 2, 4]
    assert records[0].profile.matrix() == pytest.approx(records[1].profile.matrix(), abs=0)
    assert (records[0].profile.matrix() < 0.999).any()


def test_lightning_callbacks_may_run_the_model_in_between(tiny, tmp_path):
    class Samples(pl.Callback):
        def on_validation_batch_end(self, trainer, pl_module, *_):
            pl_module.model(input_ids=torch.full((3, 4), 7))

        on_validation_start = on_validation_epoch_end = on_validation_batch_end

    monitor = LayerSimilarityMonitor(mode="passive", report=False, verbose=False)
    fit(tiny, tmp_path, monitor, own_loss=False, others=[Samples()])
    assert monitor.monitor.record.profile.meta.examples == {"a": 8, "b": 8}


def test_nested_loaders_go_by_their_own_names(tiny, tmp_path):
    rows, matrices = answered(tiny), []
    for nested in (False, True):
        d = [DataLoader(rows[start : start + 8], batch_size=4) for start in (0, 8, 16)]
        loaders = {"a": [d[0], d[1]], "b": d[2]} if nested else {"a1": d[0], "a2": d[1], "b": d[2]}
        monitor = LayerSimilarityMonitor(mode="passive", report=False, verbose=False)
        fit(tiny, tmp_path / str(nested), monitor, own_loss=False, loaders=loaders)
        matrices.append((monitor.monitor.record.profile.tasks, monitor.monitor.record.profile.matrix()))
    assert matrices[0][0] == ["a1", "a2", "b"]
    assert matrices[1][0] == ["a/0", "a/1", "b"]
    assert matrices[0][1] == pytest.approx(matrices[1][1], abs=0)


def test_an_unnamed_tensor_that_could_be_labels_is_asked_about(tiny, tmp_path):
    class Module(type(tiny.module(pl))):
        def validation_step(self, batch, index, dataloader_idx=0):
            self.model(input_ids=batch[0])

    rows = [(row["input_ids"], row["labels"]) for row in answered(tiny, 16)]
    monitor = LayerSimilarityMonitor(
        mode="passive", passive=Passive(tasks=["only"]), report=False, verbose=False, output_dir=str(tmp_path / "out")
    )
    trainer = pl.Trainer(**tiny.quiet, max_steps=2, accelerator="cpu", callbacks=[monitor], val_check_interval=2)
    with pytest.warns(RuntimeWarning, match=r"'entry 1' of the batch could be them.*call them 'labels'"):
        trainer.fit(Module(), DataLoader(tiny.rows(), batch_size=4), DataLoader(rows, batch_size=4))
    assert not monitor.monitor.record.measurements
