"""Signals of a run: what they measure, where they arrive, and that they leave no trace."""

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from lightning_layerscope import HiddenStates, RunRecord, extract_hidden_states
from lightning_layerscope.callbacks import LayerSimilarityMonitor, Signals
from lightning_layerscope.comparison.weight_updates import adapter_updates
from lightning_layerscope.functional import effective_rank, linear_cka
from lightning_layerscope.monitor.signals import SignalValues, join_signals, measure_signals, signal_curves

peft = pytest.importorskip("peft")

pytestmark = pytest.mark.draws  # the run that all look at has a report

ALL = Signals(update=True, drift_per_update=True, neighbour_similarity=True, effective_rank=True)


def run(tiny, folder, *, monitored, adapters=True):
    tiny.seed()
    model = tiny.llama()
    if adapters:
        settings = peft.LoraConfig(r=4, lora_dropout=0.1, target_modules=["q_proj", "v_proj"])
        torch.manual_seed(1)
        model = peft.get_peft_model(model, settings)
    module = tiny.module(pl, model)
    options = {"every_n_steps": 2, "output_dir": str(folder / "out"), "max_overhead": None, "verbose": False}
    monitor = LayerSimilarityMonitor(tiny.probes(), signals=ALL, **options)
    quiet = tiny.quiet | {"logger": CSVLogger(str(folder), flush_logs_every_n_steps=1)}
    trainer = pl.Trainer(max_steps=6, callbacks=[monitor] if monitored else [], accelerator="cpu", **quiet)
    tiny.seed(1)
    trainer.fit(module, DataLoader(tiny.rows(), batch_size=8))
    return module, monitor


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("signals")
    return *run(tiny, folder, monitored=True), folder


def test_a_run_with_every_signal_is_bitwise_the_run_without(tiny, finished, tmp_path):
    plain, _ = run(tiny, tmp_path, monitored=False)
    assert tiny.differences(tiny.fingerprint(finished[0]), tiny.fingerprint(plain)) == []
    assert finished[1].monitor.failures.counts == {}


def test_values_are_those_of_the_model(tiny, finished):
    module, monitor, _ = finished
    last = monitor.monitor.record.measurements[-1]
    assert set(last.curves) == set(ALL.names)
    states = extract_hidden_states(module, tiny.probes())
    neighbours = np.mean([linear_cka(x[:-1].float(), x[1:].float()).numpy() for x in states.values()], axis=0)
    np.testing.assert_allclose(last.curves["neighbour_similarity"][0][1:], neighbours, atol=1e-6)
    assert np.isnan(last.curves["neighbour_similarity"][0][0])
    ranks = np.array([effective_rank(x.float()).numpy() for x in states.values()])
    np.testing.assert_allclose(last.curves["effective_rank"][0], ranks.mean(axis=0), rtol=1e-6)
    low, high = last.curves["effective_rank"][1:]
    assert bool(((low < ranks.mean(axis=0)) & (ranks.mean(axis=0) < high)).all())
    updates = adapter_updates(module).numpy()
    np.testing.assert_allclose(last.curves["update"], np.tile(updates, (3, 1)))
    drift = (1 - last.profile.matrix()).mean(axis=0) / updates
    np.testing.assert_allclose(last.curves["drift_per_update"][0], drift, rtol=1e-6)


def test_an_update_grows_from_nothing(finished):
    curves = [each.curves["update"][0] for each in finished[1].monitor.record.measurements]
    assert curves[0].max() == 0
    assert curves[-1].min() > 0
    assert np.isnan(finished[1].monitor.record.measurements[0].curves["drift_per_update"]).all()


def test_they_reach_files_loggers_and_report(finished):
    _, monitor, folder = finished
    record = RunRecord.load(monitor.monitor.results.folder)
    for kept, measured in zip(record.measurements, monitor.monitor.record.measurements, strict=True):
        assert set(kept.curves) == set(measured.curves)
        for name, curve in measured.curves.items():
            np.testing.assert_array_equal(kept.curves[name], curve)
    logged = pd.read_csv(next(folder.rglob("metrics.csv")))
    assert logged["layerscope/update/layer_01"].dropna().iloc[-1] > 0
    assert {"layerscope/effective_rank/layer_04", "layerscope/neighbour_similarity/layer_02"} <= set(logged)
    page = (monitor.monitor.results.folder / "report.html").read_text(encoding="utf-8")
    assert "neighbour similarity" in page
    assert "drift per update" in page


def test_full_tuning_says_that_it_has_no_update(tiny, tmp_path):
    _, monitor = run(tiny, tmp_path, monitored=True, adapters=False)
    last = monitor.monitor.record.measurements[-1]
    assert set(last.curves) == {"neighbour_similarity", "effective_rank"}
    assert any("no LoRA adapters" in line for line in last.warnings)


def states(tensors):
    ids = {task: tuple(map(str, range(x.shape[1]))) for task, x in tensors.items()}
    layers = tuple(range(1, next(iter(tensors.values())).shape[0] + 1))
    return HiddenStates(tensors, layers, len(layers), dict.fromkeys(tensors, "c"), ids)


def test_a_collapsed_layer_is_seen():
    """Planted: layer 2 holds one direction, the others twelve."""
    x = torch.randn(3, 40, 12, generator=torch.Generator().manual_seed(0))
    x[1] = x[1, :, :1] * torch.ones(12)
    found = measure_signals(Signals(effective_rank=True), torch.nn.Linear(1, 1), states({"a": x}), "debiased")
    ranks = found.by_task["effective_rank"]["a"]
    assert ranks[1] == pytest.approx(1)
    assert min(ranks[0], ranks[2]) > 10


def test_ranks_together_give_what_one_process_gives(finished):
    profile = finished[1].monitor.record.measurements[-1].profile
    generator = np.random.default_rng(0)
    curves = {task: generator.normal(size=4) for task in profile.tasks}
    update = np.array([0.1, 0.2, 0.3, 0.4])
    whole = SignalValues({"effective_rank": curves}, update)
    halves = [
        SignalValues({"effective_rank": {t: c for i, (t, c) in enumerate(curves.items()) if i % 2 == part}}, update)
        for part in (0, 1)
    ]
    one, two = (signal_curves(ALL, each, profile) for each in (whole, join_signals([*halves, SignalValues()])))
    assert set(one) == set(two) == {"effective_rank", "update", "drift_per_update"}
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])


def test_layers_without_their_neighbour_have_no_similarity():
    x = torch.randn(2, 10, 6, generator=torch.Generator().manual_seed(0))
    gap = HiddenStates({"a": x}, (1, 3), 4, {"a": "c"}, {"a": tuple(map(str, range(10)))})
    found = measure_signals(Signals(neighbour_similarity=True), torch.nn.Linear(1, 1), gap, "debiased")
    assert np.isnan(found.by_task["neighbour_similarity"]["a"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "passive", "signals": Signals(effective_rank=True)}, r'of mode="active", got effective_rank'),
        ({"measure": "rsa", "signals": Signals(drift_per_update=True)}, 'needs measure="cka"'),
    ],
)
def test_refuses_what_has_no_such_signal(tiny, options, message):
    probes = {} if options.get("mode") == "passive" else {"probes": tiny.probes()}
    with pytest.raises(ValueError, match=message):
        LayerSimilarityMonitor(**probes, **options)
