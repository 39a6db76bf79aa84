"""What it costs to keep and picture a measurement, by how many there are already; the report has a file of its own.

Runs of 1, 50 and 500 measurements grow by one measurement each, in turns; medians over rounds are given as ratios to
those of the shortest run. The hidden states are random: nothing of this depends on them.

    OMP_NUM_THREADS=1 python benchmarks/recording.py --tasks 62 --layers 32 --rounds 5
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

from lightning_layerscope import HiddenStates, LayerProfile, Measurement, ReferenceBank, RunRecord, take_measurement
from lightning_layerscope.sinks.pictures import draw_pictures

LENGTHS = (1, 50, 500)


def measure(tasks: int, layers: int) -> Measurement:
    """One measurement of random states against others."""
    generator = torch.Generator().manual_seed(0)
    tensors = {f"task_{task:03d}": torch.randn(layers, 12, 16, generator=generator) for task in range(tasks)}
    states = HiddenStates(
        tensors=tensors,
        layers=tuple(range(1, layers + 1)),
        num_layers=layers,
        clusters={task: f"cluster {number % 12}" for number, task in enumerate(tensors)},
        example_ids={task: tuple(f"{task}/{row}" for row in range(12)) for task in tensors},
        examples_digest="e" * 64,
        tokens_digest="t" * 64,
    )
    other = {task: each + 0.5 * torch.randn(each.shape, generator=generator) for task, each in tensors.items()}
    return take_measurement(replace(states, tensors=other), ReferenceBank.from_states(states, name="base"), step=0)


def at_step(measurement: Measurement, step: int) -> Measurement:
    """The same measurement at another step."""
    frame = measurement.profile.to_pandas().assign(step=step)
    return replace(measurement, step=step, profile=LayerProfile(frame, measurement.profile.meta))


def timed(call: Callable[[], object]) -> float:
    """Seconds of processor time, which other programs on the machine do not count into."""
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    """Grow the runs in turns and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=62)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    first = measure(options.tasks, options.layers)
    records = {length: RunRecord({}, [at_step(first, step) for step in range(length)]) for length in LENGTHS}
    seconds: dict[tuple[str, int], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        for length, record in records.items():
            record.save(Path(name) / str(length))
        for _ in range(options.rounds):
            for length, record in records.items():
                folder = Path(name) / str(length)
                record.add(at_step(first, record.steps[-1] + 1))
                seconds["files", length].append(timed(lambda: record.save(folder)))  # noqa: B023 - called at once
                seconds["pictures", length].append(
                    timed(lambda: draw_pictures(record.measurements[-1], record))  # noqa: B023
                )
    print(f"{options.tasks} tasks x {options.layers} layers; median of {options.rounds} rounds")
    for what in ("files", "pictures"):
        base = median(seconds[what, LENGTHS[0]])
        ratios = ", ".join(f"{length}: {median(seconds[what, length]) / base:.2f}x" for length in LENGTHS)
        print(f"{what:9} {base:.3f} s at the first; after {ratios}")


if __name__ == "__main__":
    main()
