"""The study's table of similarities (tasks x layers x models) against one process per cell, as job scripts do it.

    python benchmarks/study.py [--tasks 48] [--layers 32] [--examples 1000] [--width 1024] [--sampled 20]

Ours: per task, the states of base, multi-task and control are made (synthetic, not timed), turned into Gram matrices
and compared at all layers; one task is in memory at a time. Done once for the values alone, and once with intervals.
Theirs: per cell a Python process loads two .npy files and computes the paper's formula (linear CKA, biased, float64,
feature space) with numpy; a part of the cells is sampled. Both sides run on the same number of threads, in turns, and
their values are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_layerscope.functional import centered_gram, cka_estimate, cka_from_grams, prepare_gram

CELL = """
import sys
import numpy as np
x, y = (np.load(path).astype(np.float64) for path in sys.argv[1:])
x, y = (a[~np.isnan(a).any(axis=1)] for a in (x, y))
x, y = x - x.mean(0), y - y.mean(0)
cross = np.linalg.norm(y.T @ x) ** 2
print(repr(float(cross / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))))
"""


def states(seed: int, layers: int, examples: int, width: int) -> dict[str, Tensor]:
    """Three models' states of one task: a common part that fades with depth, more so for the base model."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(layers, examples, width, generator=generator)
    depth = torch.linspace(0, 1, layers).view(-1, 1, 1)
    noise = {"base": 0.2 + 1.5 * depth, "multitask": 0.2 + 0.5 * depth, "control": 0.3 + 0 * depth}
    return {
        role: shared + size * torch.randn(layers, examples, width, generator=generator) for role, size in noise.items()
    }


def ours(held: dict[str, Tensor], *, intervals: bool) -> dict[str, Tensor]:
    """All layers of both models of one task, biased as in the paper."""
    control = prepare_gram(centered_gram(held["control"]))
    found = {}
    for role in ("base", "multitask"):
        gram = centered_gram(held[role])
        if intervals:
            found[role] = cka_estimate(gram, control, estimator="biased").value
        else:
            found[role] = cka_from_grams(gram, control, "biased")
    return found


def theirs(folder: Path, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Seconds and value of one cell in a process of its own; writing its input is not timed."""
    paths = [folder / "x.npy", folder / "y.npy"]
    for path, tensor in zip(paths, (x, y), strict=True):
        np.save(path, tensor.numpy())
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", CELL, *map(str, paths)], capture_output=True, text=True, check=True)
    return time.perf_counter() - begun, float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("tasks", 48), ("layers", 32), ("examples", 1000), ("width", 1024), ("sampled", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(options.threads)

    drawn = random.Random(0)
    cells = [(task, layer, role) for task in range(options.tasks) for layer in range(options.layers) for role in (0, 1)]
    sampled = set(drawn.sample(cells, min(options.sampled, len(cells))))
    spent = {False: 0.0, True: 0.0}
    baseline: list[float] = []
    errors: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for task in range(options.tasks):
            held = states(task, options.layers, options.examples, options.width)
            for intervals in (True, False):
                begun = time.perf_counter()
                found = ours(held, intervals=intervals)
                spent[intervals] += time.perf_counter() - begun
            # Interleaved with ours, so that a busy machine slows both down.
            for place, layer, number in sorted(sampled):
                if place == task:
                    role = ("base", "multitask")[number]
                    seconds, value = theirs(Path(folder), held[role][layer], held["control"][layer])
                    baseline.append(seconds)
                    errors.append(abs(value - float(found[role][layer])))
            del held
            print(f"task {task + 1} of {options.tasks}: {spent[False]:.1f} s", file=sys.stderr, flush=True)
    per_cell = statistics.median(baseline)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "linux" else 1e9)
    result = {
        "cells": len(cells),
        "ours_seconds": round(spent[False], 1),
        "ours_with_intervals_seconds": round(spent[True], 1),
        "process_per_cell_seconds": round(per_cell * len(cells), 1),
        "sampled_cells": len(baseline),
        "seconds_per_sampled_cell": [round(value, 3) for value in sorted(baseline)],
        "times_faster": round(per_cell * len(cells) / spent[False], 1),
        "times_faster_with_intervals": round(per_cell * len(cells) / spent[True], 1),
        "largest_difference": max(errors),
        "peak_memory_gb": round(peak, 2),
        "threads": options.threads,
    }
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
