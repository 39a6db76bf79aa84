"""What draws beside training: nothing of it is loaded by what trains, and nothing of it outlives that."""

import inspect
import subprocess
import sys
import textwrap
import time

import pytest

from lightning_layerscope.drawing.process import DrawingProcess
from lightning_layerscope.measurements import RunRecord
from lightning_layerscope.monitor.drawings import Drawings
from tests.monitor.nothing_drawn import NothingDrawn
from tests.processes import lives

pytestmark = pytest.mark.draws

CODE = """
    import sys, warnings
    warnings.simplefilter("ignore")
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
    from tests.monitor.conftest import make_module, make_probes, make_rows
    from lightning_layerscope.callbacks import LayerSimilarityMonitor

    out, drawn = sys.argv[1], ("matplotlib", "altair", "vl_convert")
    before = {name for name in sys.modules if name.startswith(drawn)}  # torchmetrics loads one of them, if it is there
    loggers = [TensorBoardLogger(out), WandbLogger(offline=True, save_dir=out, project="test")]
    options = {"every_n_steps": 2, "max_overhead": None, "output_dir": out + "/results"}
    monitor = LayerSimilarityMonitor(make_probes(tasks=3, examples=6), **options)
    trainer = pl.Trainer(
        max_steps=4, logger=loggers, callbacks=[monitor], default_root_dir=out, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
    )
    trainer.fit(make_module(pl), torch.utils.data.DataLoader(make_rows(), 8))
    if sys.argv[2] == "True":
        from lightning_layerscope.charts import png
    print(*sorted({name for name in sys.modules if name.startswith(drawn)} - before))
    print(dict(monitor.monitor.failures.counts))
"""


@pytest.mark.parametrize("draws", [False, True], ids=["a run", "the test can fail"])
def test_a_run_with_tensorboard_and_wandb_loads_no_library_that_draws(tmp_path, draws):
    pytest.importorskip("tensorboard")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CODE), str(tmp_path), str(draws)],
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded, failures = done.stdout.splitlines()[-2:]
    assert "drawing" not in failures
    assert "pictures" not in failures
    assert bool(loaded.strip()) == draws, loaded
    assert "<svg" in (tmp_path / "results" / "report.html").read_text(encoding="utf-8")


KILLED = """
    import os, sys, warnings
    warnings.simplefilter("ignore")
    import pytorch_lightning as pl
    import torch
    from tests.monitor.conftest import make_module, make_probes, make_rows
    from lightning_layerscope.callbacks import LayerSimilarityMonitor

    class Killer(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 5:
                print(monitor.monitor.results._drawings._process._process.pid, flush=True)
                os.kill(os.getpid(), 9)

    monitor = LayerSimilarityMonitor(
        make_probes(tasks=3, examples=6), every_n_steps=2, max_overhead=None, output_dir=sys.argv[1], verbose=False
    )
    trainer = pl.Trainer(
        max_steps=8, logger=False, callbacks=[monitor, Killer()], enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
    )
    trainer.fit(make_module(pl), torch.utils.data.DataLoader(make_rows(), 4, num_workers=1, persistent_workers=True))
"""


def test_a_killed_run_loses_no_number_and_leaves_no_process(tmp_path):
    """With a worker of its data loader, which holds the pipe to what draws open, too."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "out")],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == -9
    number, deadline = int(done.stdout.split()[-1]), time.monotonic() + 200
    while lives(number):
        assert time.monotonic() < deadline, "the process that draws outlives the one that trained"
        time.sleep(0.1)
    assert RunRecord.load(tmp_path / "out").steps == [0, 2, 4]
    assert not list((tmp_path / "out").glob(".drawing-*"))


def test_the_end_waits_for_what_is_drawn_and_not_for_long_where_training_failed(tiny, tmp_path, monkeypatch):
    import pytorch_lightning as pl
    from torch.utils.data import DataLoader

    from lightning_layerscope.callbacks import LayerSimilarityMonitor

    waited = []
    monkeypatch.setattr(Drawings, "finish", lambda self, *_, seconds: (waited.append(seconds), self.close()))

    class Broken(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 3:
                raise ZeroDivisionError

    for callbacks in ([], [Broken()]):
        options = {"every_n_steps": 2, "output_dir": str(tmp_path / str(len(callbacks))), "verbose": False}
        monitor = LayerSimilarityMonitor(tiny.probes(tasks=3, examples=6), **options)
        trainer = pl.Trainer(**{**tiny.quiet, "max_steps": 4, "accelerator": "cpu"}, callbacks=[monitor, *callbacks])
        try:
            trainer.fit(tiny.module(pl), DataLoader(tiny.rows(), 8))
        except ZeroDivisionError:
            assert callbacks
    usual, failed = waited
    assert 0 < failed <= 10 < usual


def test_what_stands_in_for_the_process_in_other_tests_has_its_calls():
    public = [name for name in vars(DrawingProcess) if not name.startswith("_")]
    for name in (*public, "__init__"):
        real, other = (inspect.signature(getattr(kind, name)) for kind in (DrawingProcess, NothingDrawn))
        assert list(real.parameters) == list(other.parameters), name
