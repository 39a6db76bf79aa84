"""What can be known to be wrong before the first step raises there, and says what was probably meant."""

import dataclasses

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader

from lightning_layerscope import ProbeSet, ReferenceBank, extract_hidden_states
from lightning_layerscope.callbacks import (
    Comparison,
    Extraction,
    LayerSimilarityMonitor,
    Output,
    Schedule,
    TransformersLayerSimilarityMonitor,
)

transformers = pytest.importorskip("transformers")


def fit_lightning(tiny, tmp_path, callback, module=None):
    tiny.seed()
    trainer = pl.Trainer(
        **tiny.quiet, max_steps=2, accelerator="cpu", default_root_dir=str(tmp_path), callbacks=[callback]
    )
    try:
        trainer.fit(tiny.module(pl) if module is None else module, DataLoader(tiny.rows(), batch_size=4))
    finally:
        assert trainer.global_step == 0


def fit_transformers(tiny, tmp_path, callback):
    rows = [{"input_ids": row, "labels": row} for row in tiny.rows()]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=2, report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True
    )
    trainer = transformers.Trainer(tiny.llama(), arguments, train_dataset=rows, callbacks=[callback])
    try:
        trainer.train()
    finally:
        assert trainer.state.global_step == 0


TRAINERS = {
    "lightning": (LayerSimilarityMonitor, fit_lightning),
    "transformers": (TransformersLayerSimilarityMonitor, fit_transformers),
}


def bank_of(tiny, **options):
    model = tiny.llama().eval()
    return ReferenceBank.from_states(extract_hidden_states(model, tiny.probes(tasks=3, examples=6)), **options)


def other_texts(tiny, **fields):
    """Probes of the same ids with other texts: of other examples, or of the same under another template."""
    probes = tiny.probes(tasks=3, examples=6)
    changed = [
        dataclasses.replace(probe, texts=tuple(f"other {text}" for text in probe.texts), **fields)
        for probe in probes.values()
    ]
    return ProbeSet(changed, tokenizer_name="tiny", vocab_size=tiny.vocabulary)


def fewer_layers(tiny):
    states = extract_hidden_states(tiny.llama().eval(), tiny.probes(tasks=3, examples=6), layers="1-2")
    return ReferenceBank.from_states(states, name="shallow")


MISTAKES = {
    "layers beyond the model": (lambda tiny: {"layers": "4-20"}, ValueError, r"must lie in 0\.\.4"),
    "no adapters": (lambda tiny: {"reference": "base"}, ValueError, "LlamaForCausalLM has none|Module has none"),
    "no such layers": (
        lambda tiny: {"extraction": Extraction(layer_modules="model.blocks")},
        ValueError,
        "model.blocks",
    ),
    "ids beyond the embedding": (
        lambda tiny: {"probes": tiny.probes(tasks=3, examples=6, vocabulary=5000)},
        ValueError,
        "(?i)token id",
    ),
    "a bank that is not there": (
        lambda tiny: {"reference": "results/referense"},
        FileNotFoundError,
        r"there is no folder results/referense",
    ),
    "a bank of other prompts": (
        lambda tiny: {"reference": bank_of(tiny, name="ours"), "probes": other_texts(tiny, sources=())},
        ValueError,
        "'ours' is of other prompts under the same ids",
    ),
    "a bank of prompts read in another way": (
        lambda tiny: {"reference": bank_of(tiny, name="ours"), "probes": other_texts(tiny)},
        ValueError,
        "'ours' is of the same prompts and the same model, read in another way.*Probe with the probes that it was made",
    ),
    "a bank of other examples": (
        lambda tiny: {"reference": bank_of(tiny), "probes": tiny.probes(tasks=3, examples=7)},
        ValueError,
        "other prompts of the task 't0'",
    ),
    "a bank without some tasks": (
        lambda tiny: {"reference": bank_of(tiny), "probes": tiny.probes(tasks=4, examples=6)},
        ValueError,
        r"no states of the tasks \['t3'\]",
    ),
    "a bank without some layers": (
        lambda tiny: {"reference": fewer_layers(tiny)},
        ValueError,
        r"no states of the layers \[3, 4\]",
    ),
    "probes that are not there": (lambda tiny: {"probes": "no/such/folder", "tokenizer": "x"}, Exception, "no/such"),
}


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("name", MISTAKES)
def test_it_raises_before_the_first_step(tiny, tmp_path, name, trainer):
    make, error, message = MISTAKES[name]
    kind, fit = TRAINERS[trainer]
    options = {"probes": tiny.probes(tasks=3, examples=6), "verbose": False, "output_dir": str(tmp_path / "out")}
    with pytest.raises(error, match=message):
        fit(tiny, tmp_path, kind(**{**options, **make(tiny)}))
    assert not (tmp_path / "out").exists()


def test_a_bank_that_is_misspelt_is_found_beside(tiny, tmp_path):
    bank_of(tiny).save(tmp_path / "reference")
    monitor = LayerSimilarityMonitor(tiny.probes(tasks=3, examples=6), reference=str(tmp_path / "referense"))
    with pytest.raises(FileNotFoundError, match='Did you mean "reference"'):
        fit_lightning(tiny, tmp_path, monitor)


def test_a_module_outside_transformers_needs_forward(tiny, tmp_path):
    class Module(type(tiny.module(pl))):
        def __init__(self):
            super().__init__()
            self.model = torch.nn.ModuleDict({"blocks": torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(3))})

    monitor = LayerSimilarityMonitor(
        tiny.probes(tasks=3, examples=6), extraction=Extraction(layer_modules="model.blocks"), verbose=False
    )
    with pytest.raises(ValueError, match="forward="):
        fit_lightning(tiny, tmp_path, monitor, Module())


def test_what_the_options_themselves_show_raises_at_once():
    wrong = {
        r'no folder \'inital\'\. Did you mean "initial"': {"reference": "inital"},
        r'mode must be one of .* got \'pasive\'\. Did you mean "passive"': {"mode": "pasive"},
        r'Did you mean "cka"': {"measure": "ckaa"},
        r"must lie in \(0, 1\]": {"max_overhead": 2.5},
        r"extraction=Extraction\(layer_modules='model\.blocks'\)": {"layers": "model.blocks"},
        r"folder of this machine, got 's3://bucket/run'": {"output_dir": "s3://bucket/run"},
        r"every_n_steps must be at least 1": {"every_n_steps": 0},
    }
    for message, options in wrong.items():
        with pytest.raises(ValueError, match=message):
            LayerSimilarityMonitor("toy", **options)
    mistyped = {
        r"every_n_steps must be a whole number of optimiser steps, or None, got '10'": {"every_n_steps": "10"},
        r"every_n_steps must be a whole number .* got 2\.5": {"every_n_steps": 2.5},
        r"at_steps must be a list of whole numbers, or None, got 5": {"at_steps": 5},
        r"at_steps must be .* got '12'": {"at_steps": "12"},
        r"layers must be a list of whole numbers, or text like .* got 2": {"layers": 2},
        r"max_overhead must be a share such as 0\.02, or None, got '2%'": {"max_overhead": "2%"},
        r"output_dir must be a folder, got 3": {"output_dir": 3},
        r"loggers must be loggers themselves .* got 'wandb'": {"loggers": "wandb"},
        r"loggers must be loggers themselves .* got None": {"loggers": [None]},
        r"ProbeSet\.from_prompts makes one of lists.* got dict": {"probes": {"a": ["one"]}},
    }
    for message, options in mistyped.items():
        with pytest.raises(TypeError, match=message):
            LayerSimilarityMonitor(**{"probes": "toy", **options})
    for make in (
        lambda: Schedule(geometric=1.0),
        lambda: Extraction(ranks="shares"),
        lambda: Extraction(max_tokens_per_batch=0),
        lambda: Comparison(estimator="unbiased"),
        lambda: Output(name="a/b"),
    ):
        with pytest.raises(ValueError, match=r"must be|becomes a folder's name"):
            make()
    with pytest.raises(TypeError, match=r"schedule must be a lightning_layerscope\.options\.Schedule, got dict"):
        LayerSimilarityMonitor("toy", schedule={"geometric": 2})


def test_each_twin_in_the_others_trainer_says_which_to_use(tiny, tmp_path):
    probes = tiny.probes(tasks=3, examples=6)
    with pytest.raises(TypeError, match=r"use lightning_layerscope\.callbacks\.TransformersLayerSimilarityMonitor"):
        fit_transformers(tiny, tmp_path, LayerSimilarityMonitor(probes))
    with pytest.raises(TypeError, match=r"use lightning_layerscope\.callbacks\.LayerSimilarityMonitor"):
        fit_lightning(tiny, tmp_path, TransformersLayerSimilarityMonitor(probes))
