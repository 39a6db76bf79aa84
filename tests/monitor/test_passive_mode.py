"""Passive mode reads the user's own validation: no forward pass of its own, the same values as active mode."""

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader

from lightning_layerscope.callbacks import Extraction, LayerSimilarityMonitor, Output, Passive

TASKS, EXAMPLES, LENGTH = 3, 8, 7


def prompts(tiny, task):
    generator = torch.Generator().manual_seed(10 + task)
    return torch.randint(3, tiny.vocabulary, (EXAMPLES, LENGTH), generator=generator)


def loaders(tiny):
    def collate(rows):
        return {"input_ids": torch.stack([ids for _, ids in rows]), "example_id": [name for name, _ in rows]}

    return {
        f"t{task}": DataLoader(
            [(f"t{task}/{row}", ids) for row, ids in enumerate(prompts(tiny, task))], batch_size=3, collate_fn=collate
        )
        for task in range(TASKS)
    }


def fit(tiny, tmp_path, monitor, **options):
    tiny.seed()
    base = type(tiny.module(pl))

    class Module(base):
        passes = 0

        def validation_step(self, batch, index, dataloader_idx=0):
            ids = batch["input_ids"]
            self.log("loss", self.model(input_ids=ids, labels=ids).loss)

    module = Module()
    module.model.register_forward_hook(lambda *_: setattr(module, "passes", module.passes + 1))
    settings = {"max_steps": 4, "val_check_interval": 2, "num_sanity_val_steps": -1, "accelerator": "cpu"}
    callbacks = [] if monitor is None else [monitor]
    trainer = pl.Trainer(**{**tiny.quiet, **settings, **options}, callbacks=callbacks, default_root_dir=str(tmp_path))
    trainer.fit(module, DataLoader(tiny.rows(), batch_size=4, shuffle=True), loaders(tiny))
    return module


def watch(tmp_path, **options):
    settings = {"mode": "passive", "output_dir": str(tmp_path / "out"), "report": False, "verbose": False}
    return LayerSimilarityMonitor(**{**settings, **options})


def test_it_costs_no_forward_pass_and_changes_nothing(tiny, tmp_path):
    plain = fit(tiny, tmp_path, None)
    monitor = watch(tmp_path)
    watched = fit(tiny, tmp_path, monitor)
    assert watched.passes == plain.passes
    assert tiny.differences(tiny.fingerprint(plain), tiny.fingerprint(watched)) == []
    assert not monitor.monitor.failures.counts
    assert monitor.monitor.record.steps == [0, 2, 4]


def test_the_values_are_those_of_active_mode(tiny, tmp_path):
    from lightning_layerscope import ProbeSet
    from lightning_layerscope.probes import Probe

    passive = watch(tmp_path)
    fit(tiny, tmp_path, passive)
    probes = ProbeSet(
        [
            Probe(
                f"t{task}",
                f"t{task}",
                tuple(f"t{task}/{row}" for row in range(EXAMPLES)),
                tuple(f"prompt {row}" for row in range(EXAMPLES)),
                tuple(tuple(ids.tolist()) for ids in prompts(tiny, task)),
            )
            for task in range(TASKS)
        ],
        vocab_size=tiny.vocabulary,
    )
    active = LayerSimilarityMonitor(
        probes, every_n_steps=2, max_overhead=None, report=False, verbose=False, output_dir=str(tmp_path / "active")
    )
    fit(tiny, tmp_path, active)
    for step in (2, 4):
        mine, theirs = passive.monitor.record.profile.matrix(step=step), active.monitor.record.profile.matrix(step=step)
        assert mine == pytest.approx(theirs, abs=1e-4)
        assert (mine < 0.9999).any()


def test_dataloaders_without_names_say_what_to_do(tiny, tmp_path):
    monitor = watch(tmp_path)
    module = tiny.module(pl)
    trainer = pl.Trainer(**tiny.quiet, max_steps=2, accelerator="cpu", callbacks=[monitor], val_check_interval=2)
    rows = DataLoader(tiny.rows(), batch_size=4)
    with pytest.warns(RuntimeWarning, match="needs their names: return a dict"):
        trainer.fit(module, rows, [rows])
    assert trainer.global_step == 2
    assert not monitor.monitor.record.measurements


def test_options_of_active_mode_are_refused():
    refused = {
        "probe_options": {"probe_options": {"max_length": 3}},
        'reference="base"': {"reference": "base"},
        "output.upload_prompts": {"output": Output(upload_prompts=True)},
        "probes": {"probes": "toy"},
        "forward": {"forward": print},
        "extraction.max_tokens_per_batch": {"extraction": Extraction(max_tokens_per_batch=64)},
    }
    for name, options in refused.items():
        with pytest.raises(ValueError, match=rf"no forward pass of its own.*so it has no {name}"):
            LayerSimilarityMonitor(mode="passive", **options)
    with pytest.raises(ValueError, match="group passive"):
        LayerSimilarityMonitor("toy", passive=Passive(examples_per_task=3))
