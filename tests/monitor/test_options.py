"""Options in groups: the same objects for both callbacks, in YAML and on the command line."""

import dataclasses
import importlib
import inspect
import json
import warnings
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from lightning_layerscope import options
from lightning_layerscope.callbacks import (
    Actions,
    Comparison,
    Extraction,
    LayerSimilarityMonitor,
    Output,
    Passive,
    Schedule,
    Signals,
    TransformersLayerSimilarityMonitor,
)
from lightning_layerscope.measurements import RunRecord
from lightning_layerscope.monitor.settings import Settings

FLAT = {"probes", "tokenizer", "reference", "every_n_steps", "at_steps", "layers", "measure", "mode", "forward"}
FLAT |= {"retention", "max_overhead", "output_dir", "report", "loggers", "verbose"}
GROUPS = {
    group.__name__.lower(): group for group in (Schedule, Extraction, Comparison, Signals, Actions, Output, Passive)
}


def test_both_callbacks_have_the_same_options_and_say_them_once():
    ours, theirs = (inspect.signature(kind) for kind in (LayerSimilarityMonitor, TransformersLayerSimilarityMonitor))
    assert ours == theirs
    names = list(ours.parameters)
    assert FLAT | set(GROUPS) | {"probe_options"} == set(names)
    assert names == [field.name for field in dataclasses.fields(Settings)]
    assert LayerSimilarityMonitor.__init__ is TransformersLayerSimilarityMonitor.__init__


@pytest.mark.parametrize("kind", [LayerSimilarityMonitor, TransformersLayerSimilarityMonitor])
def test_loggers_are_one_or_several_by_name_or_not(tiny, kind):
    one, other = object(), object()
    for given, expected in ((one, (one,)), ([one, other], (one, other)), ({"a": one}, (one,)), (None, ()), (False, ())):
        assert kind(tiny.probes(), loggers=given).settings.loggers == expected


def test_every_option_of_a_group_is_documented_in_it():
    for group in GROUPS.values():
        for field in dataclasses.fields(group):
            assert f"    {field.name}: " in group.__doc__, f"{group.__name__}.{field.name}"
        assert getattr(options, group.__name__) is group


def test_groups_reach_the_monitor():
    monitor = LayerSimilarityMonitor(
        "toy",
        schedule=Schedule(geometric=3.0, on_validation_end=True),
        extraction=Extraction(layer_modules="blocks", embeddings=True, max_tokens_per_batch=64, ranks="zero"),
        comparison=Comparison(estimator="biased", mid_run_baseline="flag"),
        output=Output(name="mine", task_keys=True, upload_prompts=True),
    )
    settings = monitor.settings
    assert settings.cadence.describe() == "at steps that grow by 3, after every validation"
    assert settings.extract_options["layer_modules"] == "blocks"
    assert settings.extract_options["max_tokens_per_batch"] == 64
    assert settings.compare_options == {"measure": "cka", "estimator": "biased"}
    assert "mine" in monitor.state_key


def test_triggers_mean_the_same_in_both_modes():
    assert LayerSimilarityMonitor("toy").settings.cadence.describe() == "at steps that grow by 2"
    assert LayerSimilarityMonitor(mode="passive").settings.cadence.describe() == "after every validation"
    for chosen in ({"probes": "toy"}, {"mode": "passive"}):
        assert LayerSimilarityMonitor(**chosen, every_n_steps=5).settings.cadence.describe() == "every 5 steps"


@pytest.fixture
def source(tmp_path):
    """A folder of three tasks and a tokenizer on disk, as a recipe names them."""
    from lightning_layerscope.tasks import toy_tasks
    from lightning_layerscope.training import train_tokenizer

    tasks = toy_tasks(train=8, test=8).select(list(toy_tasks(train=8, test=8))[:3])
    train_tokenizer(tasks.texts("train"), vocab_size=400).save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "tasks").mkdir()
    for name, task in tasks.items():
        rows = [
            {"split": "test", "instruction": e.instruction, "input": e.input, "output": e.output}
            for e in task.split("test")
        ]
        (tmp_path / "tasks" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


CONFIG = """
trainer:
  callbacks:
    - class_path: lightning_layerscope.callbacks.LayerSimilarityMonitor
      init_args:
        probes: {source}/tasks
        tokenizer: {source}/tokenizer
        probe_options:
          examples_per_task: 8
        max_overhead: null
        report: false
        schedule:
          geometric: 2.0
        output:
          name: mine
        extraction:
          embeddings: true
"""


@pytest.mark.parametrize("namespace", ["lightning.pytorch", "pytorch_lightning"])
def test_groups_are_told_in_yaml_and_on_the_command_line(tiny, source, monkeypatch, namespace):
    pl = importlib.import_module(namespace)
    cli = importlib.import_module(f"{namespace}.cli")
    tiny.seed()
    module = type(tiny.module(pl, tiny.llama(vocab_size=500)))

    def init(self):
        pl.LightningModule.__init__(self)
        self.model, self.lr, self.losses, self.automatic_optimization = tiny.llama(vocab_size=500), 1e-2, [], True

    monkeypatch.setattr(module, "__init__", init)

    class Data(pl.LightningDataModule):
        def train_dataloader(self):
            return DataLoader(tiny.rows(), batch_size=4)

    (source / "config.yaml").write_text(CONFIG.format(source=source))
    trainer = {"default_root_dir": source, "max_steps": 6, "accelerator": "cpu", "logger": "false"}
    trainer |= dict.fromkeys(("enable_checkpointing", "enable_progress_bar", "enable_model_summary"), "false")
    arguments = [
        "fit",
        f"--config={source / 'config.yaml'}",
        *(f"--trainer.{key}={value}" for key, value in trainer.items()),
        "--trainer.callbacks.schedule.geometric=3.0",
        "--trainer.callbacks.comparison.estimator=biased",
        "--trainer.callbacks.layers=1-2",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of jsonargparse and the CLI itself
        cli.LightningCLI(module, Data, args=arguments, save_config_callback=None)
    record = RunRecord.load(source / "mine")
    assert record.steps == [0, 1, 3, 6]
    assert record.profile.meta.layers == (0, 1, 2)
    assert record.profile.meta.estimator == "biased"


def test_the_recipes_are_those_of_the_package():
    root = Path(__file__).resolve().parents[2]
    for recipe in (root / "callbacks").glob("*.yaml"):
        assert recipe.read_text() == (root / "lightning_layerscope" / "recipes" / recipe.name).read_text()
