"""What the monitor costs a training run: three cadences, two probe sizes, and one long run under the default budget.

    python benchmarks/overhead.py [--seconds 20] [--rounds 2] [--long 0] [--guard 0] [--beside 0]

A small Llama is trained under Lightning on the CPU for a fixed number of steps, with and without the monitor, in turns.
Two figures for the cost stand side by side: what the monitor says of itself (``overhead``: its seconds over the run's),
and what a clock outside says (the watched run against the plain one). ``--long 600`` adds a ten-minute run under the
default budget of 2 %, and checks that what was measured between the first and the last kept to it. ``--guard 20``
shows, in so many turns, which part of a measurement the guard takes that leaves no trace of it. ``--beside 3`` shows,
for so many runs of 200 steps with an offline W&B run, what the process that trains spends on measurements beside
extraction and comparison: files, numbers, asking for pictures, logging finished ones, and waiting for the last.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from lightning_layerscope.probes import Probe, ProbeSet

VOCABULARY, LENGTH, BATCH = 4096, 64, 8
# tasks, examples per task
PROBES = {"8 x 16": (8, 16), "24 x 64": (24, 64)}
CADENCES: dict[str, dict[str, Any]] = {
    "first and last only": {"at_steps": [10**9]},
    "10 in between, no budget": {"max_overhead": None},
    "every step, budget 2 %": {"every_n_steps": 1},
}


def probes(tasks: int, examples: int) -> ProbeSet:
    """Prompts of 8 to 40 random tokens."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for task in range(tasks):
        names = tuple(f"{task}/{row}" for row in range(examples))
        lengths = torch.randint(8, 41, (examples,), generator=generator).tolist()
        ids = tuple(tuple(torch.randint(3, VOCABULARY, (n,), generator=generator).tolist()) for n in lengths)
        made.append(Probe(f"task{task}", f"cluster{task % 4}", names, names, ids))
    return ProbeSet(made, vocab_size=VOCABULARY)


def fit(steps: int, monitor: Any = None, *, layers: int = 8, logger: Any = False) -> float:
    """Train for so many steps; seconds from the first to after the last."""
    import pytorch_lightning as pl
    from transformers import LlamaConfig, LlamaForCausalLM

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            shape = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4}
            self.model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, num_hidden_layers=layers, **shape))

        def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
            return self.model(input_ids=batch, labels=batch).loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), 1e-4)

    torch.manual_seed(0)
    rows = torch.randint(3, VOCABULARY, (BATCH * 64, LENGTH))
    trainer = pl.Trainer(
        max_steps=steps,
        max_epochs=-1,
        accelerator="cpu",
        logger=logger,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[] if monitor is None else [monitor],
    )
    started = time.perf_counter()
    trainer.fit(Module(), DataLoader(rows, batch_size=BATCH, shuffle=True))
    return time.perf_counter() - started


def watch(size: str, folder: Path, **options: Any) -> Any:
    """A monitor as users attach it: with files, report and all."""
    from lightning_layerscope.callbacks import LayerSimilarityMonitor

    return LayerSimilarityMonitor(probes(*PROBES[size]), output_dir=str(folder), verbose=False, **options)


def row(name: str, size: str, monitor: Any, outside: list[float] | None) -> str:
    """One line of the table."""
    budget, record = monitor.monitor.budget, monitor.monitor.record
    each = statistics.median(measurement.seconds for measurement in record.measurements)
    between = budget.chosen / budget.elapsed
    clock = "" if outside is None else f"{statistics.median(outside):+.1%}"
    return (
        f"| {name} | {size} | {len(record)} | {monitor.monitor.choice.skipped} | {each:.2f} | {budget.cost:.2f} | "
        f"{budget.forced:.1f} | {between:.2%} | {budget.overhead:.1%} | {clock} |"
    )


def guard(rounds: int) -> None:
    """Print what an empty guard takes, as a share of a measurement (extraction and comparison), in turns."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from lightning_layerscope import ReferenceBank, extract_hidden_states, no_trace, take_measurement

    print("| width x layers | parameters | tasks x prompts | ms of the guard | ms of a measurement | share |")
    print("|---|---|---|---|---|---|")
    for width, layers in ((256, 8), (1024, 12)):
        shape = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": layers}
        model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, num_attention_heads=4, **shape))
        for size, counts in PROBES.items():
            prompts = probes(*counts)
            bank = ReferenceBank.from_states(extract_hidden_states(model, prompts), name="first")
            alone, whole = [], []
            for _ in range(rounds):
                started = time.perf_counter()
                with no_trace(model):
                    pass
                between = time.perf_counter()
                take_measurement(extract_hidden_states(model, prompts), bank, step=0)
                alone.append(between - started)
                whole.append(time.perf_counter() - between)
            share = statistics.median(a / w for a, w in zip(alone, whole, strict=True))
            millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
            print(
                f"| {width} x {layers} | {millions:.0f} M | {size} | {statistics.median(alone) * 1e3:.0f} | "
                f"{statistics.median(whole) * 1e3:.0f} | {share:.1%} |",
                flush=True,
            )


def beside(rounds: int) -> None:
    """Print what is spent on measurements beside taking them, as a share of that, in 200 steps of 10 layers."""
    from pytorch_lightning.loggers import WandbLogger

    print("| measurements | s to extract and compare | s beside in training | share | s with the end | share |")
    print("|---|---|---|---|---|---|")
    for turn in range(rounds):
        with tempfile.TemporaryDirectory() as place:
            logger = WandbLogger(save_dir=place, offline=True, name=str(turn))
            monitor = watch("24 x 64", Path(place) / "results", every_n_steps=20, max_overhead=None)
            fit(200, monitor, layers=10, logger=logger)
            logger.experiment.finish()
            budget, record = monitor.monitor.budget, monitor.monitor.record
            taken = [measurement.seconds for measurement in record.measurements]
            # Forced are the first, and the end, which waits for what is being drawn.
            training, whole = budget.chosen - sum(taken[1:]), budget.spent - sum(taken)
            print(
                f"| {len(record)} | {sum(taken):.2f} | {training:.3f} | {training / sum(taken[1:]):.1%} | "
                f"{whole:.2f} | {whole / sum(taken):.1%} |",
                flush=True,
            )


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="about how long each plain run takes")
    parser.add_argument("--rounds", type=int, default=2, help="repetitions of each pair of runs; 0: no table")
    parser.add_argument("--long", type=float, default=0.0, help="seconds of one long run under the default budget")
    parser.add_argument("--guard", type=int, default=0, help="turns that show the guard's share; nothing else is done")
    parser.add_argument("--beside", type=int, default=0, help="runs that show what else is spent; nothing else is done")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    if arguments.guard:
        guard(arguments.guard)
        return
    import pytorch_lightning  # noqa: F401 - sets its loggers' levels

    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.ERROR)
    if arguments.beside:
        beside(arguments.beside)
        return
    fit(10)  # imports, first allocations
    per_step = (fit(40) - fit(10)) / 30
    steps = max(20, int(arguments.seconds / per_step))
    print(f"{steps} steps of {per_step * 1e3:.0f} ms; threads: {torch.get_num_threads()}\n")
    print(
        "| cadence | probes | taken | left out | s to extract and compare | s in all, each | s of the forced two | "
        "share in between | share in all | by an outside clock |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        for size in PROBES if arguments.rounds else ():
            for name, options in CADENCES.items():
                if "in between" in name:
                    options = {**options, "every_n_steps": max(1, steps // 11)}
                outside: list[float] = []
                for turn in range(arguments.rounds):
                    plain = fit(steps)
                    monitor = watch(size, Path(place) / f"{size} {name} {turn}", **options)
                    outside.append(fit(steps, monitor) / plain - 1)
                print(row(name, size, monitor, outside), flush=True)
        if arguments.long:
            monitor = watch("8 x 16", Path(place) / "long", every_n_steps=10)
            fit(int(arguments.long / per_step), monitor)
            print(row(f"every 10 steps, budget 2 %, {arguments.long:.0f} s", "8 x 16", monitor, None))
            budget = monitor.monitor.budget
            kept = budget.chosen <= 0.02 * budget.elapsed
            print(f"\n{budget.elapsed:.0f} s; share in between {budget.chosen / budget.elapsed:.2%}: ", end="")
            print("within the budget" if kept else "BEYOND THE BUDGET")


if __name__ == "__main__":
    main()
