"""Size of the report, and how long its slider takes to show another measurement, in headless Chromium.

Every value, interval and matrix differs from measurement to measurement by noise, so that nothing compresses better
than in a run. Per section, with its pictures in sight: processor time of the browser's main thread from the slider's
event until everything in sight is drawn, which other programs on the machine do not count into, and the clock's time.

    OMP_NUM_THREADS=1 python benchmarks/report_page.py --tasks 62 --layers 80 --measurements 50 [--runs 2]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from recording import measure

from lightning_layerscope import LayerProfile, Measurement, RunRecord
from lightning_layerscope.sinks.report import write_comparison

SECTIONS = ("layers", "tasks", "training", "neighbours", "between", "layer-signals", "table")
SHOW = """async (id) => {
  const part = document.getElementById(id);
  // What is drawn on the way there would move what lies below.
  for (const each of document.querySelectorAll("section[data-view]")) await layerscope.refresh(each);
  await layerscope.refresh(part);
  part.scrollIntoView({ block: "center" });
  await new Promise((done) => setTimeout(done, 500));
  await layerscope.refreshAll();
}"""
MOVE = """async (place) => {
  const slider = document.getElementById("step");
  const start = performance.now();
  slider.value = place;
  slider.dispatchEvent(new Event("input"));
  await new Promise(requestAnimationFrame);
  await layerscope.refreshAll();
  return performance.now() - start;
}"""


def noisy(measurement: Measurement, step: int, noise: float = 0.01, *, run: int = 0) -> Measurement:
    """The same measurement at another step, every number with noise of its own."""
    random = np.random.default_rng([step, run])
    frame = measurement.profile.to_pandas().assign(step=step)
    for column in ("value", "low", "high"):
        frame[column] += random.normal(0, noise, len(frame))
    layers = len(measurement.profile.layers)
    curves = {name: random.random((3, layers)) for name in ("update", "effective_rank", "neighbour_similarity")}

    def matrix(known: Any) -> Any:
        return known + noise * random.normal(size=known.shape)

    return replace(
        measurement,
        step=step,
        profile=LayerProfile(frame, measurement.profile.meta),
        layer_x_layer=matrix(measurement.layer_x_layer),
        task_x_task={layer: matrix(each) for layer, each in measurement.task_x_task.items()},
        curves=curves,
    )


def slide(page: Path, sections: tuple[str, ...], moves: int, measurements: int) -> dict[str, tuple[float, float]]:
    """Section to the medians of processor and clock milliseconds of a move of the slider."""
    from playwright.sync_api import sync_playwright

    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    found = {}
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.goto(page.as_uri())
        tab.wait_for_selector("html[data-ready]")
        session = tab.context.new_cdp_session(tab)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})

        def spent() -> float:
            metrics = session.send("Performance.getMetrics")["metrics"]
            return next(1000 * each["value"] for each in metrics if each["name"] == "TaskDuration")

        for section in sections:
            tab.evaluate(SHOW, section)
            processor, clock = [], []
            for move in range(moves):
                before = spent()
                clock.append(tab.evaluate(MOVE, (move * 7 + 3) % measurements))
                processor.append(spent() - before)
            found[section] = median(processor), median(clock)
        browser.close()
    return found


def main() -> None:
    """Write a page, say its size, move its slider."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=62)
    parser.add_argument("--layers", type=int, default=80)
    parser.add_argument("--measurements", type=int, default=50)
    parser.add_argument("--runs", type=int, default=1, help="side by side, with their differences")
    parser.add_argument("--moves", type=int, default=30)
    options = parser.parse_args()
    first = measure(options.tasks, options.layers)
    steps = range(0, 100 * options.measurements, 100)
    records = {
        f"run {run}": RunRecord({}, [noisy(first, step, run=run) for step in steps]) for run in range(options.runs)
    }
    with tempfile.TemporaryDirectory() as name:
        page = Path(name) / "report.html"
        write_comparison(records, page)
        start = time.process_time()
        write_comparison(records, page)
        size = f"{options.tasks} tasks x {options.layers} layers x {options.measurements} measurements"
        print(f"{options.runs} x {size} of")
        print(f"{', '.join(first.profile.measures)}")
        print(f"written in {time.process_time() - start:.2f} s of processor time, {page.stat().st_size / 1e6:.2f} MB")
        sections = SECTIONS if options.runs == 1 else ("difference", *SECTIONS)
        for section, (processor, clock) in slide(page, sections, options.moves, options.measurements).items():
            print(f"{section:14} {processor:6.0f} ms of processor, {clock:6.0f} ms by the clock")


if __name__ == "__main__":
    main()
