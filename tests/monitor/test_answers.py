"""How a run's model answers: losses, divergence, and what must not be lost, against independent computations."""

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from lightning_layerscope import RunRecord
from lightning_layerscope.callbacks import LayerSimilarityMonitor, Signals, TransformersLayerSimilarityMonitor
from lightning_layerscope.extraction.target import find_target
from lightning_layerscope.functional import linear_cka
from lightning_layerscope.measurements.behaviour import Behaviour
from lightning_layerscope.monitor.answers import check_head
from lightning_layerscope.monitor.behaviour import BehaviourPart, join_behaviour
from lightning_layerscope.sinks.reading import read_results
from lightning_layerscope.sinks.reading_answers import alerts, first_loss

BOTH = Signals(answer_loss=True, kl=True)
OPTIONS = {"every_n_steps": 2, "max_overhead": None, "report": False, "verbose": False}


def probes_of(tiny, **options):
    return tiny.probes(**{"tasks": 4, "examples": 6, "answers": 3, **options})


def retained(tiny):
    return probes_of(tiny, tasks=5, examples=8, seed=7)


def adapted(tiny):
    peft = pytest.importorskip("peft")
    torch.manual_seed(1)
    settings = peft.LoraConfig(r=4, lora_dropout=0.1, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    return peft.get_peft_model(tiny.llama(), settings)


def fit(tiny, folder, module, *callbacks, rows=None, steps=4, **trainer):
    tiny.seed(1)
    quiet = tiny.quiet | {"logger": CSVLogger(str(folder), flush_logs_every_n_steps=1)} | trainer
    run = pl.Trainer(**quiet, max_steps=steps, accelerator="cpu", callbacks=list(callbacks))
    run.fit(
        module, DataLoader(tiny.rows() if rows is None else rows, batch_size=8), ckpt_path=trainer.pop("path", None)
    )
    return run


def losses_by_hand(model, probe):
    """One row at a time, all logits, in float64."""
    model.eval()
    found = []
    for prompt, answer in zip(probe.input_ids, probe.answers, strict=True):
        ids = torch.tensor([prompt + answer])
        with torch.no_grad():
            logs = model(input_ids=ids).logits[0].double().log_softmax(-1)
        places = range(len(prompt) - 1, len(prompt) + len(answer) - 1)
        found.append(-np.mean([logs[place, ids[0, place + 1]].item() for place in places]))
    return np.array(found)


def next_words(model, probe):
    model.eval()
    with torch.no_grad():
        return torch.stack(
            [model(input_ids=torch.tensor([ids])).logits[0, -1].double().log_softmax(-1) for ids in probe.input_ids]
        )


def divergence(before, now):
    return (before.exp() * (before - now)).sum(-1).numpy()


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    """A run of all weights with everything on; its model before it, and the record from the files."""
    folder = tmp_path_factory.mktemp("answers")
    monitor = LayerSimilarityMonitor(
        probes_of(tiny), signals=BOTH, retention=retained(tiny), output_dir=str(folder / "out"), **OPTIONS
    )
    module = tiny.module(pl)
    fit(tiny, folder, module, monitor)
    assert monitor.monitor.failures.counts == {}
    return tiny.llama(), module.model, RunRecord.load(folder / "out"), folder


def test_losses_and_divergence_are_those_of_every_prompt_alone(tiny, finished):
    before, now, record, _ = finished
    first, last = record.measurements[0].behaviour, record.measurements[-1].behaviour
    for group, probes in (("answers", probes_of(tiny)), ("retention", retained(tiny))):
        for task, probe in probes.items():
            np.testing.assert_allclose(first.rows[f"{group}/loss/{task}"], losses_by_hand(before, probe), rtol=1e-4)
            np.testing.assert_allclose(last.rows[f"{group}/loss/{task}"], losses_by_hand(now, probe), rtol=1e-4)
            expected = divergence(next_words(before, probe), next_words(now, probe))
            assert expected.max() > 1e-3
            np.testing.assert_allclose(last.rows[f"{group}/kl/{task}"], expected, rtol=1e-3, atol=1e-5)
            assert not first.rows[f"{group}/kl/{task}"].any()
    loss = last.scores["answers/loss"]
    assert loss[""].value == pytest.approx(np.mean([last.rows[f"answers/loss/t{task}"].mean() for task in range(4)]))
    assert loss[""].low < loss[""].value < loss[""].high
    assert loss["t1"].value == pytest.approx(last.rows["answers/loss/t1"].mean())
    assert loss["t1"].low < loss["t1"].value < loss["t1"].high


def test_drift_of_what_must_not_be_lost_is_one_minus_cka(tiny, finished):
    from lightning_layerscope import extract_hidden_states

    before, now, record, _ = finished
    one, two = (extract_hidden_states(model, retained(tiny)) for model in (before, now))
    expected = np.mean([1 - linear_cka(one[task], two[task]).numpy() for task in one], axis=0)
    np.testing.assert_allclose(record.measurements[-1].curves["retention_drift"][0], expected, atol=1e-5)
    np.testing.assert_allclose(record.measurements[0].curves["retention_drift"], 0, atol=1e-6)


def test_they_reach_loggers_and_report(finished):
    record, folder = finished[2:]
    logged = pd.read_csv(next(folder.rglob("metrics.csv")))
    last = record.measurements[-1].behaviour.scores
    for signal in ("answers/loss", "answers/kl", "retention/loss", "retention/kl", "retention/loss_change"):
        assert logged[f"layerscope/{signal}"].dropna().iloc[-1] == pytest.approx(last[signal][""].value)
        assert logged[f"layerscope/{signal}_low"].dropna().iloc[-1] == pytest.approx(last[signal][""].low)
        assert logged[f"layerscope/{signal}/task/t2"].dropna().iloc[-1] == pytest.approx(last[signal]["t2"].value)
    assert logged["layerscope/retention_drift/layer_04"].dropna().iloc[-1] > 0
    from lightning_layerscope.sinks.report import write_report

    page = write_report(record, folder / "page.html").read_text(encoding="utf-8")
    assert "answers, kl" in page
    assert "retention drift" in page
    assert any("reference answers is" in paragraph for paragraph in read_results(record))


def test_against_the_base_the_adapters_are_off(tiny, tmp_path):
    monitor = LayerSimilarityMonitor(
        probes_of(tiny), signals=BOTH, reference="base", output_dir=str(tmp_path), **OPTIONS
    )
    module = tiny.module(pl, adapted(tiny))
    fit(tiny, tmp_path, module, monitor)
    probe = probes_of(tiny)["t0"]
    record = monitor.monitor.record
    fresh = divergence(next_words(tiny.llama(), probe), next_words(adapted(tiny), probe))
    assert fresh.max() > 1e-6
    np.testing.assert_allclose(record.measurements[0].behaviour.rows["answers/kl/t0"], fresh, rtol=1e-2, atol=1e-6)
    later = divergence(next_words(tiny.llama(), probe), next_words(module.model, probe))
    np.testing.assert_allclose(record.measurements[-1].behaviour.rows["answers/kl/t0"], later, rtol=1e-2, atol=1e-6)
    assert monitor.monitor.failures.counts == {}


@pytest.fixture(scope="module")
def knowing(tiny):
    """A model that knows the answers of what must not be lost by heart, and those rows."""
    model, probes = tiny.llama(), retained(tiny)
    rows = [torch.tensor(ids + more) for p in probes.values() for ids, more in zip(p.input_ids, p.answers, strict=True)]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=0)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    optimizer = torch.optim.AdamW(model.eval().parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        model(input_ids=padded, attention_mask=mask, labels=padded.masked_fill(mask == 0, -100)).loss.backward()
        optimizer.step()
    return model.state_dict(), padded


def watched(tiny, folder, knowing, lr, rows=None):
    model = tiny.llama()
    model.load_state_dict(knowing[0])
    monitor = LayerSimilarityMonitor(probes_of(tiny), retention=retained(tiny), output_dir=str(folder), **OPTIONS)
    saving = ModelCheckpoint(dirpath=folder / "saved", every_n_train_steps=3, save_top_k=-1)
    fit(tiny, folder, tiny.module(pl, model, lr=lr), monitor, saving, rows=rows, steps=12, enable_checkpointing=True)
    return monitor.monitor.record


def test_what_was_unlearned_is_named_with_its_first_measurement_and_the_checkpoint_before(tiny, tmp_path, knowing):
    record = watched(tiny, tmp_path, knowing, lr=3e-3)
    before, left = first_loss(record)
    assert left.step > 0
    assert before.step < left.step
    change = left.behaviour.scores["retention/loss_change"][""]
    rows = [record.measurements[0].behaviour, left.behaviour]
    tasks = [f"retention/loss/t{task}" for task in range(5)]
    assert change.value == pytest.approx(np.mean([rows[1].rows[t].mean() - rows[0].rows[t].mean() for t in tasks]))
    assert change.low > 0
    assert [alert.kind for alert in alerts(record)] == ["forgetting"]
    checkpoint = max((step for step in (3, 6, 9, 12) if step < left.step), default=None)
    (told,) = [paragraph for paragraph in read_results(record) if paragraph.startswith("Retention")]
    assert f"by step {left.step:,} the loss on what must not be lost had left its interval by more than 0.02" in told
    assert (f"of step {checkpoint:,}" if checkpoint else "no checkpoint before it was seen") in told


def test_what_is_trained_on_is_not_forgotten(tiny, tmp_path, knowing):
    record = watched(tiny, tmp_path, knowing, lr=1e-3, rows=knowing[1].repeat(3, 1))
    assert alerts(record) == []
    assert first_loss(record) is None
    assert any("no loss by more than 0.02 that this run could see" in paragraph for paragraph in read_results(record))


def test_a_resumed_run_compares_with_its_own_beginning(tiny, tmp_path):
    def monitor():
        options = OPTIONS | {"signals": BOTH, "retention": retained(tiny)}
        return LayerSimilarityMonitor(probes_of(tiny), output_dir=str(tmp_path / "out"), **options)

    saving = ModelCheckpoint(dirpath=tmp_path / "saved", every_n_train_steps=2, save_top_k=-1)
    fit(tiny, tmp_path, tiny.module(pl), monitor(), saving, steps=2, enable_checkpointing=True)
    module = tiny.module(pl)
    again = monitor()
    quiet = tiny.quiet | {"max_steps": 4, "accelerator": "cpu"}
    path = next((tmp_path / "saved").glob("*step=2*"))
    pl.Trainer(**quiet, callbacks=[again]).fit(module, DataLoader(tiny.rows(), batch_size=8), ckpt_path=path)
    record = RunRecord.load(tmp_path / "out")
    assert record.steps == [0, 2, 4]
    probe = retained(tiny)["t0"]
    expected = divergence(next_words(tiny.llama(), probe), next_words(module.model, probe))
    last = record.measurements[-1].behaviour
    np.testing.assert_allclose(last.rows["retention/kl/t0"], expected, rtol=1e-3, atol=1e-5)
    change = losses_by_hand(module.model, probe) - losses_by_hand(tiny.llama(), probe)
    assert last.scores["retention/loss_change"]["t0"].value == pytest.approx(change.mean(), rel=1e-3)


@pytest.mark.parametrize("before", ["none", "other prompts of the same names"])
def test_a_run_resumed_with_another_retention_set_says_that_its_beginning_is_not_known(tiny, tmp_path, before):
    def monitor(retention):
        return LayerSimilarityMonitor(probes_of(tiny), retention=retention, output_dir=str(tmp_path / "out"), **OPTIONS)

    saving = ModelCheckpoint(dirpath=tmp_path / "saved", every_n_train_steps=2, save_top_k=-1)
    first = None if before == "none" else probes_of(tiny, tasks=5, examples=8, seed=8)
    fit(tiny, tmp_path, tiny.module(pl), monitor(first), saving, steps=2, enable_checkpointing=True)
    quiet = tiny.quiet | {"max_steps": 4, "accelerator": "cpu"}
    path = next((tmp_path / "saved").glob("*step=2*"))
    trainer = pl.Trainer(**quiet, callbacks=[monitor(retained(tiny))])
    trainer.fit(tiny.module(pl), DataLoader(tiny.rows(), batch_size=8), ckpt_path=path)
    last = RunRecord.load(tmp_path / "out").measurements[-1]
    assert set(last.behaviour.scores) == {"retention/loss"}
    assert any("at the beginning is not known" in line for line in last.warnings)


@pytest.mark.parametrize("before", ["none", "other prompts of the same names"])
def test_a_run_resumed_with_another_retention_set_asks_the_model_without_adapters(tiny, tmp_path, before):
    pytest.importorskip("peft")

    def monitor(retention):
        more = {"signals": Signals(kl=True, effective_rank=True), "output_dir": str(tmp_path / "out")}
        return LayerSimilarityMonitor(probes_of(tiny), reference="base", retention=retention, **OPTIONS | more)

    saving = ModelCheckpoint(dirpath=tmp_path / "saved", every_n_train_steps=2, save_top_k=-1)
    first = None if before == "none" else probes_of(tiny, tasks=5, examples=8, seed=8)
    fit(tiny, tmp_path, tiny.module(pl, adapted(tiny)), monitor(first), saving, steps=2, enable_checkpointing=True)
    quiet = tiny.quiet | {"max_steps": 4, "accelerator": "cpu"}
    path = next((tmp_path / "saved").glob("*step=2*"))
    module = tiny.module(pl, adapted(tiny))
    pl.Trainer(**quiet, callbacks=[monitor(retained(tiny))]).fit(
        module, DataLoader(tiny.rows(), batch_size=8), ckpt_path=path
    )
    last = RunRecord.load(tmp_path / "out").measurements[-1]
    assert not any("at the beginning is not known" in line for line in last.warnings)
    probe = retained(tiny)["t0"]
    change = losses_by_hand(module.model, probe) - losses_by_hand(tiny.llama(), probe)
    assert abs(change).max() > 1e-4
    assert last.behaviour.scores["retention/loss_change"]["t0"].value == pytest.approx(change.mean(), rel=1e-3)
    assert "retention_drift" in last.curves


def test_processes_together_give_what_one_gives(finished):
    behaviour = finished[2].measurements[-1].behaviour
    clusters = {"answers": {f"t{task}": f"c{task % 3}" for task in range(4)}}
    halves = [
        BehaviourPart({key: rows for key, rows in behaviour.rows.items() if key[-1] in part}) for part in ("02", "134")
    ]
    whole = join_behaviour([BehaviourPart(behaviour.rows)], clusters)
    parts = join_behaviour([BehaviourPart(), *halves], clusters)
    assert parts.scores == whole.scores
    assert whole.scores["answers/loss"] == behaviour.scores["answers/loss"]


def test_general_retention_is_read_with_the_runs_own_tokenizer(tiny, tmp_path):
    transformers = pytest.importorskip("transformers")
    from lightning_layerscope.probes import ProbeSet
    from lightning_layerscope.tasks import toy_tasks
    from lightning_layerscope.training import small_llama, train_tokenizer

    tasks = toy_tasks(train=8, test=8).select(["parity", "copy_sentence"])
    tokenizer = train_tokenizer(tasks.texts("train"), vocab_size=400)
    monitor = TransformersLayerSimilarityMonitor(
        ProbeSet.from_tasks(tasks, tokenizer, examples_per_task=8), retention="general", signals=BOTH, **OPTIONS
    )
    rows = [{"input_ids": row, "labels": row} for row in tiny.rows()]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=2, report_to=[], save_steps=1, disable_tqdm=True, use_cpu=True
    )
    model = small_llama(tokenizer, width=32, layers=3, heads=2)
    transformers.Trainer(model, arguments, train_dataset=rows, processing_class=tokenizer, callbacks=[monitor]).train()
    assert monitor.monitor.failures.counts == {}
    last = RunRecord.load(tmp_path / "layerscope").measurements[-1].behaviour.scores
    assert len(last["retention/loss"]) == 7
    assert len(last["answers/kl"]) == 3
    assert monitor.monitor.record.config["checkpoints"] == [1, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"signals": Signals(answer_loss=True)}, r"4 of 4 tasks of the probes have prompts without a reference answer"),
        ({"retention": "other"}, r"4 of 4 tasks of the retention set have prompts without a reference answer"),
        (
            {"signals": BOTH, "forward": lambda model, ids, mask: model(ids)},
            "on a causal language model of transformers",
        ),
        ({"retention": "general"}, "retention='general' needs a tokenizer"),
    ],
)
def test_what_cannot_be_measured_is_told_before_the_first_step(tiny, tmp_path, options, message):
    if options.get("retention") == "other":
        options = options | {"retention": probes_of(tiny, answers=0)}
    monitor = LayerSimilarityMonitor(probes_of(tiny, answers=0), output_dir=str(tmp_path), **OPTIONS, **options)
    with pytest.raises(ValueError, match=message):
        fit(tiny, tmp_path, tiny.module(pl), monitor)


def test_prompts_with_answers_must_fit_the_models_positions(tiny, tmp_path):
    transformers = pytest.importorskip("transformers")
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=10, vocab_size=64)
    )
    monitor = LayerSimilarityMonitor(
        probes_of(tiny), signals=Signals(answer_loss=True), output_dir=str(tmp_path), **OPTIONS
    )
    with pytest.raises(ValueError, match="positions"):
        fit(tiny, tmp_path, tiny.module(pl, model), monitor, rows=tiny.rows()[:, :8])


@pytest.mark.parametrize("kind", ["BertForMaskedLM", "BertForSequenceClassification"])
def test_a_model_that_predicts_no_next_word_is_refused(tiny, kind):
    transformers = pytest.importorskip("transformers")
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = getattr(transformers, kind)(transformers.BertConfig(vocab_size=64, **shape))
    with pytest.raises(ValueError, match="on a causal language model of transformers"):
        check_head(model, find_target(model))


def test_a_run_that_asks_for_none_of_this_keeps_no_beginning(tiny, tmp_path):
    monitor = LayerSimilarityMonitor(probes_of(tiny), output_dir=str(tmp_path / "out"), **OPTIONS)
    fit(tiny, tmp_path, tiny.module(pl), monitor, steps=2)
    assert not any(vars(each.behaviour) != vars(Behaviour()) for each in RunRecord.load(tmp_path / "out").measurements)


def test_passive_mode_has_no_retention():
    with pytest.raises(ValueError, match="so it has no retention"):
        LayerSimilarityMonitor(mode="passive", retention="general")
