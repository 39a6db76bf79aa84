"""Whether a run keeps to its budget: a measurement is due at every step, 2 % of the time may be spent on them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from card.setting import Setting, fit, make_module
from lightning_layerscope.callbacks import LayerSimilarityMonitor

HEAD = ("run", "steps", "taken, left out", "s of one, median", "share in between", "share in all", "peak GiB")


def rows(setting: Setting) -> Iterator[tuple[str, ...]]:
    """One plain run, then one with the monitor's files alone and one with its report, too."""
    size = setting.size
    model = setting.model(size.large, dtype=torch.bfloat16).train()
    batch, length = size.batch
    data = setting.rows(size.large, batch * 64, length)
    name, prompts = next(iter(size.measured.items()))
    probes = setting.probes(prompts, size.large.vocabulary)

    def train(seconds: float, *callbacks: Any) -> tuple[int, float, float]:
        module = make_module(model, lr=1e-5)
        options = {"precision": "bf16-true", "max_time": {"seconds": seconds}, "callbacks": list(callbacks)}
        begin = time.perf_counter()
        peak = setting.peak(lambda: fit(setting, module, data, batch, **options))
        return len(module.losses), time.perf_counter() - begin, peak

    steps, seconds, peak = train(size.seconds / 4)
    yield f"plain, {seconds:.0f} s", str(steps), "", "", "", "", f"{peak:.1f}"
    for what, report in (("files", False), ("files and report", True)):
        with tempfile.TemporaryDirectory() as folder:
            monitor = LayerSimilarityMonitor(
                probes, every_n_steps=1, output_dir=str(Path(folder) / "run"), report=report, verbose=False
            )
            steps, seconds, peak = train(size.seconds, monitor)
        record = monitor.monitor.record
        each = [measurement.seconds for measurement in record.measurements]
        between = sum(each[1:-1]) / seconds
        yield (
            f"{name} prompts, {what}, {seconds:.0f} s",
            str(steps),
            f"{len(each)}, {record.config.get('left_out')}",
            f"{sorted(each)[len(each) // 2]:.2f}",
            f"{between:.2%}: {'kept' if between <= 0.02 else 'NOT KEPT'}",
            f"{sum(each) / seconds:.1%}",
            f"{peak:.1f}",
        )
