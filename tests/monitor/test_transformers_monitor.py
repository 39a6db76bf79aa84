"""The twin for transformers.Trainer and TRL: the same results, and training that is bitwise the same."""

import dataclasses
import weakref
from typing import ClassVar

import pytest
import torch

from lightning_layerscope.callbacks import Signals, TransformersLayerSimilarityMonitor
from lightning_layerscope.measurements import RunRecord
from lightning_layerscope.monitor import callback as monitor_callback

transformers = pytest.importorskip("transformers")


class Keep(transformers.TrainerCallback):
    """Keeps the losses, as numbers."""

    def __init__(self):
        self.losses = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            self.losses.append(logs["loss"])


def lora(tiny):
    peft = pytest.importorskip("peft")
    torch.manual_seed(1)
    return peft.get_peft_model(tiny.llama(), peft.LoraConfig(r=2, lora_dropout=0.1, target_modules=["q_proj"]))


CONDITIONS = {
    "fp32": (None, {}, {}),
    "accumulation": (None, {"gradient_accumulation_steps": 3}, {}),
    "bf16": (None, {"bf16": True}, {}),
    "checkpointing": (None, {"gradient_checkpointing": True}, {}),
    "lora against base": (lora, {}, {"reference": "base"}),
}


def train(tiny, folder, make=None, monitor=None, resume=None, data=None, others=(), **options):
    tiny.seed()
    model = (make or (lambda tiny: tiny.llama()))(tiny)
    rows = [{"input_ids": row, "labels": row} for row in tiny.rows()]
    settings = {"max_steps": 6, "logging_steps": 1, "report_to": [], "save_strategy": "no", "disable_tqdm": True}
    settings |= {"per_device_train_batch_size": 4, "learning_rate": 1e-2, "use_cpu": True, "seed": 0}
    arguments = transformers.TrainingArguments(output_dir=str(folder), **{**settings, **options})
    keep = Keep()
    trainer = transformers.Trainer(
        model,
        arguments,
        train_dataset=rows,
        callbacks=[keep, *others, *([monitor] if monitor else [])],
        **(data or {}),
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer, keep.losses


def watch(tiny, **options):
    settings = {"every_n_steps": 2, "max_overhead": None, "report": False, "verbose": False}
    return TransformersLayerSimilarityMonitor(tiny.probes(tasks=3, examples=6, answers=3), **{**settings, **options})


@pytest.mark.parametrize("name", CONDITIONS)
def test_training_is_bitwise_the_same(tiny, tmp_path, name, capsys):
    make, options, monitoring = CONDITIONS[name]
    plain, losses = train(tiny, tmp_path / "plain", make, **options)
    state = torch.get_rng_state()
    signals = {each.name: True for each in dataclasses.fields(Signals) if each.type == "bool"}
    every = {"signals": Signals(**signals), "retention": tiny.probes(tasks=2, examples=6, answers=2, seed=3)}
    monitor = watch(tiny, **every, **monitoring)
    watched, same = train(tiny, tmp_path / "watched", make, monitor, **options)
    assert losses == same
    assert len(losses) == 6
    assert torch.equal(state, torch.get_rng_state())
    mine, theirs = dict(watched.model.named_parameters()), dict(plain.model.named_parameters())
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert all(mine[key].requires_grad == theirs[key].requires_grad for key in mine)
    assert monitor.monitor.record.steps == [0, 2, 4, 6]
    assert not monitor.monitor.failures.counts
    record = RunRecord.load(tmp_path / "watched" / "layerscope")
    assert record.steps == [0, 2, 4, 6]
    assert {"answers/kl", "retention/loss_change"} <= set(record.measurements[-1].behaviour.scores)
    assert {"gradient_conflict", "separability"} <= set(record.measurements[-1].curves)


def test_a_resumed_run_keeps_its_baseline_and_its_history(tiny, tmp_path):
    train(tiny, tmp_path, None, watch(tiny), save_strategy="steps", save_steps=4)
    before = RunRecord.load(tmp_path / "layerscope")
    train(tiny, tmp_path, None, watch(tiny), resume=str(tmp_path / "checkpoint-4"), max_steps=8)
    after = RunRecord.load(tmp_path / "layerscope")
    assert after.run_id == before.run_id
    assert after.steps == [0, 2, 4, 6, 8]
    assert after.profile.matrix(step=4) == pytest.approx(before.profile.matrix(step=4), abs=0)


def test_a_checkpoint_leads_back_from_another_output_dir(tiny, tmp_path):
    train(tiny, tmp_path / "first", None, watch(tiny), save_strategy="steps", save_steps=4)
    before = RunRecord.load(tmp_path / "first" / "layerscope")
    resume = str(tmp_path / "first" / "checkpoint-4")
    train(tiny, tmp_path / "second", None, watch(tiny), resume=resume, max_steps=8)
    after = RunRecord.load(tmp_path / "second" / "layerscope")
    assert after.run_id == before.run_id
    assert after.steps == [0, 2, 4, 6, 8]
    assert after.profile.meta.reference_digest == before.profile.meta.reference_digest
    assert RunRecord.load(tmp_path / "first" / "layerscope").steps == before.steps


def test_scalars_reach_loggers_that_are_passed(tiny, tmp_path):
    class Logger:
        rows: ClassVar[list] = []

        def log_metrics(self, row, step):
            self.rows.append((step, row))

    train(tiny, tmp_path, None, watch(tiny, loggers=[Logger()]))
    assert [step for step, _ in Logger.rows] == [0, 2, 4, 6]
    assert Logger.rows[0][1]["layerscope/cka/layer_01"] == pytest.approx(1.0, abs=1e-6)


def test_passive_mode_reads_evaluations_by_the_names_of_their_datasets(tiny, tmp_path):
    rows = [{"input_ids": row, "labels": row} for row in tiny.rows()]
    options = {"eval_strategy": "steps", "eval_steps": 2, "eval_on_start": True, "per_device_eval_batch_size": 4}
    data = {"eval_dataset": {"first": rows[:8], "second": rows[8:16]}}
    plain, losses = train(tiny, tmp_path / "plain", data=data, **options)
    monitor = TransformersLayerSimilarityMonitor(mode="passive", report=False, verbose=False)
    watched, same = train(tiny, tmp_path / "watched", None, monitor, data=data, **options)
    assert losses == same
    mine, theirs = dict(watched.model.named_parameters()), dict(plain.model.named_parameters())
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    record = RunRecord.load(tmp_path / "watched" / "layerscope")
    assert record.steps == [0, 2, 4, 6]
    assert record.profile.tasks == ["first", "second"]
    assert record.profile.meta.reference == "initial"
    assert record.profile.meta.examples == {"first": 8, "second": 8}
    assert (record.profile.matrix() < 0.9999).any()
    watched.evaluate({"first": rows[:8]})
    assert monitor.monitor.record.steps == [0, 2, 4, 6]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in watched.model.modules())


def test_an_exception_is_followed_by_the_final_rows_when_the_process_exits(tiny, tmp_path):
    class Sink:
        ends: ClassVar[list] = []

        def log_metrics(self, row, step):
            pass

        def save(self):
            self.ends.append(1)

    class Break(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 3:
                raise ArithmeticError

    monitor = watch(tiny, loggers=[Sink()])
    with pytest.raises(ArithmeticError):
        train(tiny, tmp_path, None, monitor, others=[Break()])
    assert RunRecord.load(tmp_path / "layerscope").steps == [0, 2]
    assert not Sink.ends
    monitor_callback._crash(weakref.ref(monitor.monitor))  # what the interpreter calls
    assert Sink.ends == [1]


SFT = {
    "plain": (None, {}),
    "lora": ({"r": 2, "lora_dropout": 0.1, "target_modules": ["q_proj"]}, {}),
    "checkpointing": (None, {"gradient_checkpointing": True}),
    "packing": (None, {"packing": True, "packing_strategy": "wrapped", "max_length": 32}),
}


@pytest.mark.draws
@pytest.mark.parametrize("name", SFT)
def test_trl_trains_and_is_measured(tiny, tmp_path, name):
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    from lightning_layerscope.probes import ProbeSet
    from lightning_layerscope.tasks import toy_tasks
    from lightning_layerscope.training import small_llama, train_tokenizer

    tasks = toy_tasks(train=8, test=8)
    tasks = tasks.select(list(tasks)[:3])
    tokenizer = train_tokenizer(tasks.texts("train"), vocab_size=400)
    probes = ProbeSet.from_tasks(tasks, tokenizer, examples_per_task=8)
    rows = [
        {"prompt": f"{e.instruction}\n{e.input}\n", "completion": e.output}
        for task in tasks.values()
        for e in task.split("train")
    ]
    adapter, options = SFT[name]
    settings = {"max_steps": 4, "per_device_train_batch_size": 4, "report_to": [], "use_cpu": True, "seed": 0}
    settings |= {"save_strategy": "no", "disable_tqdm": True, "learning_rate": 1e-2, "max_length": 64, "bf16": False}
    settings |= {"gradient_checkpointing": False, "logging_steps": 1, **options}

    def run(folder, *monitors):
        tiny.seed()
        trainer = trl.SFTTrainer(
            small_llama(tokenizer, width=32, layers=3, heads=2),
            args=trl.SFTConfig(output_dir=str(folder), **settings),
            train_dataset=datasets.Dataset.from_list(rows),
            processing_class=tokenizer,
            peft_config=adapter and pytest.importorskip("peft").LoraConfig(**adapter),
            callbacks=[keep := Keep(), *monitors],
        )
        trainer.train()
        return trainer.model, keep.losses

    monitor = TransformersLayerSimilarityMonitor(
        probes,
        every_n_steps=2,
        max_overhead=None,
        verbose=False,
        reference="base" if adapter else "initial",
        report=name == "plain",
    )
    (plain, losses), (watched, same) = run(tmp_path / "plain"), run(tmp_path / "watched", monitor)
    assert losses == same
    assert len(losses) == 4
    mine, theirs = dict(watched.named_parameters()), dict(plain.named_parameters())
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert not monitor.monitor.failures.counts
    record = RunRecord.load(tmp_path / "watched" / "layerscope")
    assert record.steps == [0, 2, 4]
    assert (record.profile.matrix() < 0.9999).any()
    assert (tmp_path / "watched" / "layerscope" / "report.html").is_file() == (name == "plain")
