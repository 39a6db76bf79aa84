"""The process that trains loads nothing that draws, whichever trackers are there."""

import subprocess
import sys
import textwrap

import pytest

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
        import lightning_layerscope.charts
    print(*sorted({name for name in sys.modules if name.startswith(drawn)} - before))
    print("charts:", "lightning_layerscope.charts" in sys.modules, dict(monitor.monitor.failures.counts))
"""


@pytest.mark.parametrize("draws", [False, True], ids=["a run", "the test can fail"])
def test_a_run_with_tensorboard_and_wandb_loads_no_library_that_draws(tmp_path, draws):
    pytest.importorskip("tensorboard")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CODE), str(tmp_path), str(draws)],
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded, charts = done.stdout.splitlines()[-2:]
    assert charts == f"charts: {draws} {{}}"
    assert draws or not loaded.strip()
    assert "<svg" in (tmp_path / "results" / "report.html").read_text(encoding="utf-8")
