"""Updates of full tuning, against a copy of the beginning or a checkpoint; and the tasks' distance in each layer."""

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from lightning_layerscope import RunRecord, extract_hidden_states
from lightning_layerscope.callbacks import LayerSimilarityMonitor, Signals
from lightning_layerscope.functional.separability import scatter_ratio, scatter_ratio_from_moments
from lightning_layerscope.functional.update import relative_update
from lightning_layerscope.monitor.signals import join_signals, measure_signals, signal_curves

OPTIONS = {"every_n_steps": 2, "max_overhead": None, "report": False, "verbose": False}


class Replace(pl.Callback):
    """Planted: the weights of layer 3 are others from step 2 on."""

    def on_train_batch_start(self, trainer, pl_module, batch, index):
        if trainer.global_step == 2:
            with torch.no_grad():
                pl_module.model.model.layers[2].mlp.up_proj.weight.mul_(-1)


def fit(tiny, monitor, *callbacks, module=None, steps=4, path=None, **trainer):
    module = tiny.module(pl, lr=1e-4) if module is None else module
    tiny.seed(1)
    quiet = tiny.quiet | {"max_steps": steps, "accelerator": "cpu"} | trainer
    pl.Trainer(**quiet, callbacks=[*callbacks, monitor]).fit(
        module, DataLoader(tiny.rows(), batch_size=8), ckpt_path=path
    )
    return module.model


def monitor_of(tiny, folder, source, **signals):
    chosen = Signals(update=True, drift_per_update=True, update_from=source, **signals)
    return LayerSimilarityMonitor(tiny.probes(), signals=chosen, output_dir=str(folder), **OPTIONS)


def matrices(model, layer):
    return [weight.detach() for weight in model.model.layers[layer].parameters() if weight.ndim > 1]


@pytest.mark.parametrize("source", ["copy", "checkpoint"])
def test_a_layer_whose_weights_were_replaced_is_named(tiny, tmp_path, source):
    if source == "checkpoint":
        tiny.llama().save_pretrained(tmp_path / "start")
    monitor = monitor_of(tiny, tmp_path / "out", "copy" if source == "copy" else str(tmp_path / "start"))
    model = fit(tiny, monitor, Replace())
    curves = [each.curves["update"][0] for each in RunRecord.load(tmp_path / "out").measurements]
    assert not curves[0].any()
    assert curves[-1].argmax() == 2
    assert curves[-1][2] > 10 * np.delete(curves[-1], 2).max()
    expected = [relative_update(matrices(tiny.llama(), layer), matrices(model, layer)).item() for layer in range(4)]
    np.testing.assert_allclose(curves[-1], expected, rtol=1e-5)
    assert np.isfinite(monitor.monitor.record.measurements[-1].curves["drift_per_update"][0]).all()


def test_a_resumed_run_says_that_its_copy_is_gone(tiny, tmp_path):
    saving = ModelCheckpoint(dirpath=tmp_path / "saved", every_n_train_steps=2, save_top_k=-1)
    fit(tiny, monitor_of(tiny, tmp_path / "out", "copy"), saving, steps=2, enable_checkpointing=True)
    again = monitor_of(tiny, tmp_path / "out", "copy")
    fit(tiny, again, path=next((tmp_path / "saved").glob("*step=2*")))
    last = again.monitor.record.measurements[-1]
    assert last.step == 4
    assert "update" not in last.curves
    assert any("has gone with the process that held it" in line for line in last.warnings)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", 'must be "copy" or a folder with model.safetensors'),
        ("other", "lacks 28 of 28 matrices of the model's layers, e.g. 'model.layers.0.self_attn.q_proj.weight'"),
    ],
)
def test_a_source_that_does_not_fit_is_told_before_the_first_step(tiny, tmp_path, source, message):
    from safetensors.torch import save_file

    (tmp_path / "other").mkdir()
    save_file({"x": torch.zeros(1)}, tmp_path / "other" / "model.safetensors")
    with pytest.raises(ValueError, match=message):
        fit(tiny, monitor_of(tiny, tmp_path / "out", str(tmp_path / source)))


def test_adapters_need_no_source(tiny, tmp_path):
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(tiny.llama(), peft.LoraConfig(r=2, target_modules=["q_proj"]))
    with pytest.raises(ValueError, match="update_from is for full tuning"):
        fit(tiny, monitor_of(tiny, tmp_path / "out", "copy"), module=tiny.module(pl, model))
    with pytest.raises(ValueError, match="set update=True or drift_per_update=True"):
        Signals(update_from="copy")


def test_moments_of_the_tasks_give_the_scatter_ratio_of_all_examples():
    generator = torch.Generator().manual_seed(0)
    tasks = [torch.randn(3, n, 5, generator=generator) + shift for n, shift in ((6, 0.0), (9, 1.0), (4, -2.0))]
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor([6, 9, 4]))
    means = torch.stack([x.mean(dim=1) for x in tasks], dim=1)
    within = torch.stack([(x - x.mean(dim=1, keepdim=True)).square().sum(dim=(1, 2)) for x in tasks], dim=1)
    found = scatter_ratio_from_moments(means, within.unsqueeze(-1), torch.tensor([6, 9, 4]))
    torch.testing.assert_close(found, scatter_ratio(torch.cat(tasks, dim=1), labels), rtol=1e-5, atol=0)
    with pytest.raises(ValueError, match="tasks >= 2"):
        scatter_ratio_from_moments(means[:, :1], within[:, :1].unsqueeze(-1), torch.tensor([6]))


def test_separability_is_measured_with_its_interval_and_by_processes_together(tiny, tmp_path):
    signals = Signals(separability=True)
    monitor = LayerSimilarityMonitor(tiny.probes(), signals=signals, output_dir=str(tmp_path), **OPTIONS)
    model = fit(tiny, monitor)
    states, record = extract_hidden_states(model, tiny.probes()), monitor.monitor.record
    last = record.measurements[-1]
    labels = torch.repeat_interleave(torch.arange(8), 12)
    expected = scatter_ratio(torch.cat(list(states.values()), dim=1).float(), labels)
    value, low, high = last.curves["separability"]
    np.testing.assert_allclose(value, expected.numpy(), rtol=1e-4)
    assert ((low < value) & (value < high)).all()
    parts = [extract_hidden_states(model, tiny.probes().select(list(states)[first::2])) for first in (0, 1)]
    halves = [measure_signals(signals, model, part, "debiased") for part in parts]
    together = signal_curves(signals, join_signals(halves), last.profile)["separability"]
    np.testing.assert_allclose(together, last.curves["separability"], rtol=1e-4)


class Collapse(pl.Callback):
    """Planted: from step 2 on layer 3 writes one direction, so strongly that nothing else is left of its states."""

    def on_train_batch_start(self, trainer, pl_module, batch, index):
        if trainer.global_step == 2:
            weight = pl_module.model.model.layers[2].mlp.down_proj.weight
            with torch.no_grad():
                weight.copy_(1000 * torch.outer(torch.ones(weight.shape[0]), weight[0]))


@pytest.mark.parametrize("planted", [True, False])
def test_a_layer_that_collapses_in_a_run_gives_an_alert(tiny, tmp_path, planted):
    monitor = LayerSimilarityMonitor(
        tiny.probes(), signals=Signals(effective_rank=True), output_dir=str(tmp_path), **OPTIONS
    )
    fit(tiny, monitor, *([Collapse()] if planted else []), steps=6)
    alerts = [(each.step, alert) for each in RunRecord.load(tmp_path).measurements for alert in each.alerts]
    if not planted:
        assert alerts == []
        return
    ((step, alert),) = alerts
    assert (step, alert.kind) == (4, "collapse")
    assert "the states of layers 3, 4 use less than half of the dimensions" in alert.text
