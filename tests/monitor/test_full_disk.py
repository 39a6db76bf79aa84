"""A disk that is full between a measurement's numbers and its pictures: numbers stay, pictures can be made later."""

import errno

import lightning.pytorch as pl
import pytest
import torch

from lightning_layerscope.callbacks import LayerSimilarityMonitor
from lightning_layerscope.cli import main
from lightning_layerscope.drawing import process
from lightning_layerscope.measurements import RunRecord

pytestmark = pytest.mark.draws

FULL = """
import errno
from lightning_layerscope.drawing import worker
def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")
worker.write_pictures = full
"""


class Pictured:
    """Logs numbers, and takes pictures."""

    def __init__(self):
        self.numbers, self.pictures = [], []

    def start(self, record):
        pass

    def log(self, measurement, record, host_step):
        self.numbers.append(measurement.step)

    def wants_pictures(self, record):
        return True

    def log_pictures(self, pictures, *, step, host_step, last):
        self.pictures.append(step)
        return True

    def finish(self, record, status):
        pass


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def fill(where, monkeypatch):
    """From now on this cannot be written."""
    if where == "folder":
        monkeypatch.setattr(process.tempfile, "mkdtemp", full)
    elif where == "file in it":
        monkeypatch.setattr(process.DrawingProcess, "_start", full)
    else:
        monkeypatch.setattr(process, "_CODE", process._CODE.replace("main(**job", f"{FULL}worker.main(**job"))


@pytest.mark.parametrize("where", ["folder", "file in it", "pictures"])
def test_training_goes_on_and_the_rest_is_made_later(tiny, tmp_path, monkeypatch, where):
    rows = torch.utils.data.DataLoader(tiny.rows(), batch_size=4)
    logger, out = Pictured(), tmp_path / "out"
    options = {"at_steps": [2, 4], "max_overhead": None, "verbose": False, "loggers": [logger]}
    monitor = LayerSimilarityMonitor(tiny.probes(tasks=3, examples=6), output_dir=str(out), **options)
    trainer = pl.Trainer(**tiny.quiet, max_steps=tiny.steps, accelerator="cpu", callbacks=[monitor])
    with monkeypatch.context() as disk:
        fill(where, disk)
        said = r"Pictures of \d measurements? are not logged; .* All numbers are kept; `layerscope report .*` makes rep"
        with pytest.warns(RuntimeWarning, match=said) as warned:
            trainer.fit(tiny.module(pl), rows)
    assert trainer.global_step == tiny.steps
    measured = [0, 2, 4, tiny.steps]
    assert logger.numbers == RunRecord.load(out).steps == measured
    assert logger.pictures == []
    assert set(monitor.monitor.failures.counts) == {"drawing"}
    (first,) = [str(each.message) for each in warned if "are not logged" in str(each.message)]
    assert "Pictures of 0" not in first
    if where != "pictures":
        assert "No space left" in first
    assert not (out / "report.html").exists() or where == "pictures"
    assert not list(out.glob(".*")), "what was begun is gone"
    assert main(["report", str(out)]) in (0, None)
    assert '"steps":[0,2,4,6]' in (out / "report.html").read_text(encoding="utf-8")
