"""Every hook of both callbacks goes through one contained dispatch: whatever a trainer does, its run goes on."""

import inspect
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader

from lightning_layerscope.callbacks import LayerSimilarityMonitor, TransformersLayerSimilarityMonitor
from lightning_layerscope.callbacks import lightning as lightning_module
from lightning_layerscope.compat.lightning import logging_step

transformers = pytest.importorskip("transformers")


class Hostile:
    """Raises at every attribute."""

    def __getattr__(self, name):
        raise ConnectionError(f"no {name} here")


def overridden(callback, base):
    """Names of the hooks that a trainer calls and the callback has of its own."""
    hooks = [name for name, _ in inspect.getmembers(base, inspect.isfunction) if not name.startswith("_")]
    return [name for name in hooks if getattr(callback, name) is not getattr(base, name)]


@pytest.mark.parametrize(
    ("callback", "base", "own_way"),
    [
        (LayerSimilarityMonitor, pl.Callback, {"state_dict"}),  # gives something back
        (TransformersLayerSimilarityMonitor, transformers.TrainerCallback, set()),
    ],
)
def test_every_hook_is_contained(callback, base, own_way):
    hooks = overridden(callback, base)
    assert "on_train_end" in hooks
    assert [name for name in hooks if not hasattr(getattr(callback, name), "__wrapped__")] == sorted(own_way)


def drive(callback, base, *arguments, **keywords):
    """Call every hook that there is, the way its signature asks for."""
    for name in sorted(overridden(callback, base), key=lambda name: "begin" not in name and "start" not in name):
        hook = getattr(type(callback), name)
        wanted = list(inspect.signature(hook).parameters.values())[1:]
        needed = [one for one in wanted if one.kind is one.POSITIONAL_OR_KEYWORD and one.default is one.empty]
        given = list(arguments[: len(needed)]) + [Hostile()] * (len(needed) - len(arguments))
        if name == "setup":
            given[-1] = "fit"
        if name == "load_state_dict":
            given = [Hostile()]
        hook(callback, *given, **(keywords if any(one.kind is one.VAR_KEYWORD for one in wanted) else {}))


@pytest.mark.parametrize("mode", ["active", "passive"])
def test_a_lightning_trainer_that_raises_everywhere_is_told_of_once(tiny, mode):
    options = {"mode": mode, "verbose": False}
    monitor = LayerSimilarityMonitor(tiny.probes(tasks=2) if mode == "active" else None, **options)
    with pytest.warns(RuntimeWarning, match=r"ConnectionError: no .* Training goes on\.") as caught:
        drive(monitor, pl.Callback, Hostile(), tiny.module(pl))
    assert len(caught) == 1
    assert monitor.monitor.failures.counts["monitor"] >= 4


@pytest.mark.parametrize("mode", ["active", "passive"])
def test_a_transformers_trainer_that_raises_everywhere_is_told_of_once(tiny, mode):
    options = {"mode": mode, "verbose": False}
    monitor = TransformersLayerSimilarityMonitor(tiny.probes(tasks=2) if mode == "active" else None, **options)
    with pytest.warns(RuntimeWarning, match=r"ConnectionError: no .* Training goes on\.") as caught:
        drive(monitor, transformers.TrainerCallback, Hostile(), Hostile(), Hostile(), model=tiny.llama())
    assert len(caught) == 1
    assert monitor.monitor.failures.counts["monitor"] >= 2


def test_an_interruption_in_a_hook_interrupts(tiny):
    class Interrupting:
        def __getattr__(self, name):
            raise KeyboardInterrupt

    monitor = LayerSimilarityMonitor(tiny.probes(tasks=2), verbose=False)
    with pytest.raises(KeyboardInterrupt):
        monitor.on_train_start(Interrupting(), tiny.module(pl))


class Log(pl.loggers.Logger):
    """A logger whose tracking server is down when it is asked for one thing."""

    name = "log"

    def __init__(self, broken, folder):
        super().__init__()
        self.broken, self.folder, self.rows = broken, folder, []

    def _asked(self, what, answer):
        if what == self.broken:
            raise ConnectionError("tracking server is down")
        return answer

    @property
    def version(self):
        return self._asked("version", 0)

    @property
    def log_dir(self):
        return self._asked("log_dir", None)

    @property
    def save_dir(self):
        return self._asked("save_dir", str(self.folder))

    def log_metrics(self, metrics, step=None):
        self.rows.append(metrics)

    def log_hyperparams(self, *args, **kwargs):
        pass


def fit(tiny, tmp_path, monitor, loaders=None, **options):
    tiny.seed()
    base = type(tiny.module(pl))

    class Module(base):
        def validation_step(self, batch, index, dataloader_idx=0):
            ids = batch["input_ids"]
            self.model(input_ids=ids, labels=ids)

    settings = {"max_steps": 4, "accelerator": "cpu", "default_root_dir": str(tmp_path), "num_sanity_val_steps": 0}
    trainer = pl.Trainer(**{**tiny.quiet, **settings, **options}, callbacks=[monitor])
    trainer.fit(Module(), DataLoader(tiny.rows(), batch_size=4), loaders)
    return trainer


@pytest.mark.parametrize("broken", ["version", "log_dir"])
def test_a_logger_that_cannot_say_its_folder_is_told_of_and_still_gets_its_rows(tiny, tmp_path, broken):
    logger = Log(broken, tmp_path / "logs")
    monitor = LayerSimilarityMonitor(
        tiny.probes(tasks=3, examples=6), every_n_steps=2, max_overhead=None, report=False, verbose=False
    )
    with pytest.warns(RuntimeWarning, match="tracking server is down.*results go elsewhere") as caught:
        # The trainer's own checkpointing would ask the logger, too.
        trainer = fit(tiny, tmp_path, monitor, logger=logger, log_every_n_steps=1)
    assert len([one for one in caught if "tracking server" in str(one.message)]) == 1
    assert trainer.global_step == 4
    assert monitor.monitor.record.steps == [0, 2, 4]
    assert monitor.monitor.results.folder == tmp_path / "layerscope"
    assert any("layerscope/cka/layer_01" in row for row in logger.rows)


class Odd:
    """An example_id that nothing can be made of."""

    def __iter__(self):
        raise TypeError("an odd example_id")


@pytest.mark.parametrize("ids", [Odd(), 7, ["one"]])
def test_an_odd_example_id_is_told_of_and_validation_goes_on(tiny, tmp_path, ids):
    rows = tiny.rows()[:8]
    loaders = {
        "a": DataLoader(rows, batch_size=4, collate_fn=lambda r: {"input_ids": torch.stack(r), "example_id": ids})
    }
    monitor = LayerSimilarityMonitor(mode="passive", report=False, verbose=False, output_dir=str(tmp_path / "out"))
    with pytest.warns(RuntimeWarning, match="validation batches could not be read") as caught:
        trainer = fit(tiny, tmp_path, monitor, loaders, val_check_interval=2)
    assert len([one for one in caught if "layerscope:" in str(one.message)]) == 1
    assert trainer.global_step == 4
    assert not monitor.monitor.record.measurements


def test_a_private_count_of_lightning_that_is_gone_is_replaced_and_told_of(tiny, tmp_path, monkeypatch):
    without = SimpleNamespace(fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace()))
    assert logging_step(without) is None
    monkeypatch.setattr(lightning_module, "logging_step", lambda trainer: logging_step(without))
    monitor = LayerSimilarityMonitor(
        tiny.probes(tasks=3, examples=6), every_n_steps=2, max_overhead=None, report=False, verbose=False
    )
    with pytest.warns(RuntimeWarning, match="logged by global_step instead") as caught:
        trainer = fit(tiny, tmp_path, monitor)
    assert len([one for one in caught if "layerscope:" in str(one.message)]) == 1
    assert trainer.global_step == 4
    assert monitor.monitor.record.steps == [0, 2, 4]
