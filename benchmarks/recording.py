"""What it costs to keep and picture a measurement, by how many there are already; the report has a file of its own.

Runs of 1, 50 and 500 measurements grow by one measurement each, in turns; medians over rounds are given as ratios to
those of the shortest run. The hidden states are random: nothing of this depends on them.

The process that trains hands over: it writes the files, logs the numbers to TensorBoard and an offline W&B run, asks
for what is to be drawn (given in parts), and logs finished pictures later. What draws is another process; what it takes
is given below. Measurements come at least some ten times as seldom as it takes to draw one, so that a measurement finds
that process idle; it is also given what handing over takes while it is busy. Each is given by the clock, which is how
long training waits, and in processor time of the whole process, which other programs on the machine do not count into,
but threads of the trackers do.

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

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_layerscope import HiddenStates, LayerProfile, Measurement, ReferenceBank, RunRecord, take_measurement
from lightning_layerscope.monitor.drawings import Drawings
from lightning_layerscope.monitor.failures import Failures
from lightning_layerscope.sinks import sinks_for
from lightning_layerscope.sinks.pictures import draw_pictures

LENGTHS = (1, 50, 500)
HANDED_OVER = ("files", "numbers", "asking", "handing over")
IDLE, BUSY = "", " beside drawing"
"""What the process that draws does meanwhile."""

Seconds = NDArray[np.float64]
"""By the clock, and of processor time."""


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
    profile = LayerProfile(frame, measurement.profile.meta)
    profile.matrix()  # as the transition has asked for it already
    return replace(measurement, step=step, profile=profile)


def timed(call: Callable[[], object]) -> Seconds:
    """By the clock, and processor time of this process."""
    clock, processor = time.perf_counter(), time.process_time()
    call()
    return np.array([time.perf_counter() - clock, time.process_time() - processor])


class HandingOver:
    """What the process that trains does for a measurement once it is taken."""

    def __init__(self, folder: Path, record: RunRecord) -> None:
        import wandb
        from torch.utils.tensorboard import SummaryWriter

        self.folder, self.record = folder, record
        self.writer = SummaryWriter(folder / "board")
        self.run = wandb.init(mode="offline", dir=folder, project="benchmark", reinit="create_new")
        self.sinks = sinks_for([self.writer, self.run])
        self.drawings = Drawings(Failures("benchmark"), report=True)
        for sink in self.sinks:
            sink.start(record)
        self.drawings.open(self.sinks)
        self.take(record.measurements[-1])  # starts the process that draws, once in a run
        self.pictures = draw_pictures(record.measurements[-1], record)

    def take(self, measurement: Measurement) -> dict[str, Seconds]:
        """Seconds of each part."""
        found = {"files": timed(lambda: self.record.save(self.folder))}
        found["numbers"] = timed(lambda: [sink.log(measurement, self.record, measurement.step) for sink in self.sinks])
        found["asking"] = timed(lambda: self.drawings.ask(self.folder, self.record, measurement.step))
        return {**found, "handing over": np.sum(list(found.values()), axis=0)}

    def wait(self, step: int) -> None:
        """Until all that was asked for is drawn."""
        process = self.drawings._process
        assert process is not None
        while not (process.has_pictures(step) and process.page()[0]):
            process.check()
            time.sleep(0.1)

    def log_pictures(self, step: int) -> Seconds:
        """Seconds for the pictures of one measurement in both trackers."""

        def log() -> None:
            for sink in self.sinks:
                sink.log_pictures(self.pictures, step=step, host_step=step, last=True)

        return timed(log)

    def close(self) -> None:
        """Without waiting for what is still being drawn."""
        self.drawings.close()
        self.run.finish()
        self.writer.close()


def main() -> None:
    """Grow the runs in turns and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=62)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    options = parser.parse_args()
    first = measure(options.tasks, options.layers)
    records = {length: RunRecord({}, [at_step(first, step) for step in range(length)]) for length in options.lengths}
    seconds: dict[tuple[str, int], list[Seconds]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        for length, record in records.items():
            record.save(Path(name) / str(length))
        handing = {length: HandingOver(Path(name) / str(length), record) for length, record in records.items()}
        for _ in range(options.rounds):
            for length, record in records.items():
                handing[length].wait(record.steps[-1])
                for drawing in (IDLE, BUSY):
                    seconds["pictures", length].append(  # and the caches of the processor hold something else then
                        timed(lambda: draw_pictures(record.measurements[-1], record))  # noqa: B023
                    )
                    record.add(at_step(first, record.steps[-1] + 1))
                    for part, took in handing[length].take(record.measurements[-1]).items():
                        seconds[part + drawing, length].append(took)
                seconds["logging pictures", length].append(handing[length].log_pictures(record.steps[-1]))
        for each in handing.values():
            each.close()
    print(f"{options.tasks} tasks x {options.layers} layers; median of {options.rounds} rounds")
    parts = [part + drawing for drawing in (IDLE, BUSY) for part in HANDED_OVER]
    for what in (*parts, "logging pictures", "pictures"):
        medians = {length: np.median(seconds[what, length], axis=0) for length in options.lengths}
        clock, processor = medians[options.lengths[0]]
        ratios = ", ".join(f"{length}: {each[0] / clock:.2f}x" for length, each in medians.items())
        print(f"{what:30} {clock:.4f} s, {processor:.4f} of processor, after {options.lengths[0]}; after {ratios}")


if __name__ == "__main__":
    main()
