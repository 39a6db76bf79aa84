"""The monitor through the public way in: results on disk, both namespaces, resume, failures, LightningCLI recipes."""

import importlib
import json
import warnings
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_layerscope.callbacks import Comparison, Extraction, LayerSimilarityMonitor, Output, Schedule
from lightning_layerscope.measurements import RunRecord
from lightning_layerscope.references import ReferenceBank

RECIPES = Path(__file__).resolve().parents[2] / "callbacks"


def fit(tiny, tmp_path, monitor, namespace="lightning.pytorch", module=None, ckpt_path=None, **options):
    pl = importlib.import_module(namespace)
    tiny.seed()
    module = tiny.module(pl) if module is None else module
    settings = {"max_steps": tiny.steps, "accelerator": "cpu", "default_root_dir": str(tmp_path)}
    callbacks = [*options.pop("callbacks", []), *([] if monitor is None else [monitor])]
    trainer = pl.Trainer(**{**tiny.quiet, **settings, **options}, callbacks=callbacks)
    trainer.fit(module, DataLoader(tiny.rows(), batch_size=4, shuffle=True), ckpt_path=ckpt_path)
    return module, trainer


def watch(tiny, out, **options):
    settings = {"every_n_steps": 2, "max_overhead": None, "report": False, "verbose": False, "output_dir": str(out)}
    return LayerSimilarityMonitor(tiny.probes(tasks=3, examples=6), **{**settings, **options})


@pytest.mark.draws
@pytest.mark.parametrize("namespace", ["lightning.pytorch", "pytorch_lightning"])
def test_results_lie_in_a_folder_in_both_namespaces(tiny, tmp_path, namespace):
    fit(tiny, tmp_path, watch(tiny, tmp_path / "out", report=True), namespace)
    record = RunRecord.load(tmp_path / "out")
    assert record.steps == [0, 2, 4, 6]
    first, last = record.profile.matrix(step=0), record.profile.matrix(step=6)
    assert first == pytest.approx(1.0, abs=1e-6)
    assert (last < 0.9999).all()
    assert "<svg" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert ReferenceBank.load(tmp_path / "out" / "reference").digest == record.profile.meta.reference_digest


@pytest.mark.draws
def test_the_report_is_drawn_once_per_measurement(tiny, tmp_path, monkeypatch):
    """The end of the run has nothing to add to what its last measurement wrote."""
    from lightning_layerscope.drawing.process import DrawingProcess

    asked, ask = [], DrawingProcess.ask
    monkeypatch.setattr(
        DrawingProcess, "ask", lambda self, step, **what: asked.append((step, what)) or ask(self, step, **what)
    )
    fit(tiny, tmp_path, watch(tiny, tmp_path / "out", report=True))
    assert asked == [(step, {"pictures": False, "report": True}) for step in (0, 2, 4, 6)]
    assert '"steps":[0,2,4,6]' in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert not list((tmp_path / "out").glob(".*")), "nothing that was handed over is left"


def test_the_last_measurement_is_of_the_final_weights(tiny, tmp_path):
    from lightning_layerscope import compare, extract_hidden_states

    module, _ = fit(tiny, tmp_path, watch(tiny, tmp_path / "out"))
    again = compare(
        extract_hidden_states(module, tiny.probes(tasks=3, examples=6)),
        ReferenceBank.load(tmp_path / "out" / "reference"),
    )
    assert again.matrix() == pytest.approx(RunRecord.load(tmp_path / "out").profile.matrix(), abs=1e-5)


def test_another_runs_results_are_never_touched(tiny, tmp_path):
    fit(tiny, tmp_path, watch(tiny, tmp_path / "out"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()}
    fit(tiny, tmp_path, watch(tiny, tmp_path / "out"))
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()} == before
    assert RunRecord.load(tmp_path / "out-2").run_id != RunRecord.load(tmp_path / "out").run_id


def test_scalars_reach_any_logger_on_its_own_steps(tiny, tmp_path):
    from lightning.pytorch.loggers import CSVLogger

    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=1)
    fit(tiny, tmp_path, watch(tiny, tmp_path / "out"), logger=logger)
    rows = (Path(logger.log_dir) / "metrics.csv").read_text().splitlines()
    names, cells = rows[0].split(","), [row.split(",") for row in rows[1:]]
    column = names.index("layerscope/cka/layer_01")
    values = [float(row[column]) for row in cells if row[column]]
    assert len(values) == 4
    assert values[0] == pytest.approx(1.0, abs=1e-6)


def test_a_failing_measurement_warns_once_is_counted_and_training_goes_on(tiny, tmp_path, monkeypatch):
    plain = tiny.fingerprint(fit(tiny, tmp_path, None)[0])
    from lightning_layerscope.monitor import active

    real, calls = active.extract_hidden_states, []

    def breaks(*args, **kwargs):
        calls.append(1)
        if len(calls) > 1:
            raise torch.OutOfMemoryError("no memory left")
        return real(*args, **kwargs)

    monkeypatch.setattr(active, "extract_hidden_states", breaks)
    monitor = watch(tiny, tmp_path / "out")
    with pytest.warns(RuntimeWarning, match="no memory left") as caught:
        module, _ = fit(tiny, tmp_path, monitor)
    assert len([one for one in caught if "no memory left" in str(one.message)]) == 1
    assert monitor.monitor.failures.counts["measurement"] == 4  # steps 2, 4, 6, and once more at the end
    assert tiny.differences(plain, tiny.fingerprint(module)) == []
    assert RunRecord.load(tmp_path / "out").steps == [0]


@pytest.mark.parametrize("error", [StopIteration, OSError])
def test_no_error_of_a_measurement_ends_the_epoch(tiny, tmp_path, monkeypatch, error):
    from lightning_layerscope.monitor import results

    def breaks(*_):
        raise error("full")

    monkeypatch.setattr(results.RunRecord, "save", breaks)
    with pytest.warns(RuntimeWarning, match="full"):
        _, trainer = fit(tiny, tmp_path, watch(tiny, tmp_path / "out"))
    assert trainer.global_step == tiny.steps


def test_an_interruption_in_a_measurement_interrupts(tiny, tmp_path, monkeypatch):
    from lightning_layerscope.monitor import active

    real, calls = active.extract_hidden_states, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(active, "extract_hidden_states", interrupted)
    try:
        _, trainer = fit(tiny, tmp_path, watch(tiny, tmp_path / "out"))
    except (KeyboardInterrupt, SystemExit):
        pass  # newer Lightnings leave by an exception, older ones return
    else:
        assert trainer.interrupted
    assert RunRecord.load(tmp_path / "out").steps == [0]


def checkpoint(tiny, tmp_path, out):
    from lightning.pytorch.callbacks import ModelCheckpoint

    keep = ModelCheckpoint(dirpath=tmp_path / "kept", every_n_train_steps=4, save_top_k=-1)
    fit(tiny, tmp_path, watch(tiny, out), callbacks=[keep], enable_checkpointing=True)
    [found] = (tmp_path / "kept").glob("*step=4*")
    return found


@pytest.mark.parametrize("moved", [False, True])
def test_a_resumed_run_keeps_its_baseline_and_its_history(tiny, tmp_path, moved):
    found = checkpoint(tiny, tmp_path, tmp_path / "out")
    before = RunRecord.load(tmp_path / "out")
    place = tmp_path / "out"
    if moved:
        place = (tmp_path / "out").rename(tmp_path / "elsewhere")
    resumed = watch(tiny, place)
    fit(tiny, tmp_path, resumed, ckpt_path=str(found))
    after = RunRecord.load(place)
    assert after.run_id == before.run_id
    assert after.steps == [0, 2, 4, 6]
    assert after.profile.meta.reference_digest == before.profile.meta.reference_digest
    assert after.profile.matrix(step=2) == pytest.approx(before.profile.matrix(step=2), abs=0)


def test_a_mid_run_baseline_is_never_taken_silently(tiny, tmp_path):
    found = checkpoint(tiny, tmp_path, tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "lost")
    refusing = watch(tiny, tmp_path / "new")
    with pytest.warns(RuntimeWarning, match=r"begins at step 4.*output_dir"):
        fit(tiny, tmp_path, refusing, ckpt_path=str(found))
    assert not refusing.monitor.record.measurements
    flagged = watch(tiny, tmp_path / "new", comparison=Comparison(mid_run_baseline="flag"))
    with pytest.warns(RuntimeWarning, match="begins at step 4"):
        fit(tiny, tmp_path, flagged, ckpt_path=str(found))
    assert flagged.monitor.record.profile.meta.reference != "initial"


def test_a_stored_bank_is_a_reference(tiny, tmp_path):
    fit(tiny, tmp_path, watch(tiny, tmp_path / "out"))
    fit(tiny, tmp_path, watch(tiny, tmp_path / "again", reference=str(tmp_path / "out" / "reference")))
    first, second = RunRecord.load(tmp_path / "out"), RunRecord.load(tmp_path / "again")
    assert second.profile.matrix(step=6) == pytest.approx(first.profile.matrix(step=6), abs=1e-5)


def test_a_model_outside_transformers_names_its_layers_and_its_forward(tiny, tmp_path):
    import lightning.pytorch as pl

    class Blocks(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(tiny.vocabulary, 8)
            self.blocks = torch.nn.ModuleList(torch.nn.Linear(8, 8) for _ in range(3))
            self.head = torch.nn.Linear(8, tiny.vocabulary)

        def forward(self, ids):
            hidden = self.embed(ids)
            for block in self.blocks:
                hidden = torch.tanh(block(hidden)).cumsum(1)
            return self.head(hidden)

    class Module(type(tiny.module(pl))):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.model = Blocks()

        def forward(self, batch):
            return torch.nn.functional.cross_entropy(self.model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())

    monitor = watch(
        tiny,
        tmp_path / "out",
        extraction=Extraction(layer_modules="model.blocks"),
        forward=lambda module, ids, mask: module.model(ids),
    )
    fit(tiny, tmp_path, monitor, module=Module())
    record = RunRecord.load(tmp_path / "out")
    assert record.steps == [0, 2, 4, 6]
    assert record.profile.layers == [1, 2, 3]
    assert (record.profile.matrix() < 0.9999).any()


def test_validate_test_and_predict_outside_a_fit_measure_nothing(tiny, tmp_path):
    import lightning.pytorch as pl

    monitor = watch(tiny, tmp_path / "out", schedule=Schedule(on_validation_end=True))
    module = tiny.module(pl)
    trainer = pl.Trainer(**tiny.quiet, accelerator="cpu", callbacks=[monitor], default_root_dir=str(tmp_path))
    trainer.validate(module, DataLoader(tiny.rows(), batch_size=8), verbose=False)
    assert not monitor.monitor.record.measurements
    assert not (tmp_path / "out").exists()


@pytest.fixture
def source(tmp_path):
    """A folder of two tasks and a tokenizer on disk, as a recipe names them."""
    from lightning_layerscope.tasks import toy_tasks
    from lightning_layerscope.training import train_tokenizer

    tasks = toy_tasks(train=8, test=8).select(list(toy_tasks(train=8, test=8))[:3])
    train_tokenizer(tasks.texts("train"), vocab_size=400).save_pretrained(tmp_path / "tokenizer")
    folder = tmp_path / "tasks"
    folder.mkdir()
    for name, task in tasks.items():
        rows = [
            {"split": split, "instruction": e.instruction, "input": e.input, "output": e.output}
            for split, examples in task.splits.items()
            for e in examples
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


@pytest.mark.parametrize("namespace", ["lightning.pytorch", "pytorch_lightning"])
def test_a_recipe_attaches_the_monitor_to_a_cli_run(tiny, source, monkeypatch, namespace):
    pl = importlib.import_module(namespace)
    cli = importlib.import_module(f"{namespace}.cli")
    tiny.seed()
    module = type(tiny.module(pl, tiny.llama(vocab_size=500)))
    monkeypatch.setattr(module, "__init__", lambda self: _init(self, pl, tiny))

    class Data(pl.LightningDataModule):
        def train_dataloader(self):
            return DataLoader(tiny.rows(), batch_size=4)

    arguments = [
        "fit",
        f"--config={RECIPES / 'monitor.yaml'}",
        f"--trainer.default_root_dir={source}",
        "--trainer.max_steps=4",
        "--trainer.logger=false",
        "--trainer.enable_checkpointing=false",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
        "--trainer.accelerator=cpu",
        f"--trainer.callbacks.probes={source / 'tasks'}",
        f"--trainer.callbacks.tokenizer={source / 'tokenizer'}",
        "--trainer.callbacks.probe_options.examples_per_task=8",
        "--trainer.callbacks.every_n_steps=2",
        "--trainer.callbacks.max_overhead=null",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of jsonargparse and the CLI itself
        cli.LightningCLI(module, Data, args=arguments, save_config_callback=None)
    record = RunRecord.load(source / "layerscope")
    assert record.steps == [0, 2, 4]
    assert len(record.profile.tasks) == 3


def _init(module, pl, tiny):
    pl.LightningModule.__init__(module)
    module.model = tiny.llama(vocab_size=500)
    module.lr, module.losses, module.automatic_optimization = 1e-2, [], True


@pytest.mark.parametrize("namespace", ["lightning.pytorch", "pytorch_lightning"])
def test_rows_stand_at_the_steps_of_lightnings_own_also_at_the_end(tiny, tmp_path, namespace):
    """Its count moves on after the last batch, whose row stands under the number before."""

    class Logger:
        def __init__(self):
            self.steps = []

        def log_metrics(self, row, step):
            self.steps.append(step)

    every, at_the_end = Logger(), Logger()
    monitors = [
        watch(tiny, tmp_path / name, every_n_steps=often, loggers=[logger], output=Output(name=name))
        for name, often, logger in (("every", 2, every), ("at_the_end", 4, at_the_end))
    ]
    fit(tiny, tmp_path, None, namespace, callbacks=monitors)
    assert [monitor.monitor.record.steps for monitor in monitors] == [[0, 2, 4, 6], [0, 4, 6]]
    assert every.steps == [0, 1, 3, 5], "the batches are counted from 0"
    assert at_the_end.steps == [0, 3, 5]
