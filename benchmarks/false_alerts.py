"""How often a run without anything to find gives an alert, and how soon one with something does.

    python benchmarks/false_alerts.py [--runs 50] [--looks 20]

A small Llama is pre-trained on toy tasks, once. Every run then goes on training it, with rows and seeds of its own, and
is looked at again and again: on the same tasks, so that nothing is forgotten and no layer collapses; and on prompts
with each other's answers, so that the tasks are forgotten. Retention set: held-out rows of the tasks.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from lightning_layerscope import ProbeSet, watch
from lightning_layerscope.options import Signals
from lightning_layerscope.tasks import TaskCollection, toy_tasks
from lightning_layerscope.training import small_llama, train_tokenizer
from lightning_layerscope.training.encoding import EncodedExample, collate, encode_examples
from lightning_layerscope.training.loss import answer_loss, mean_loss

NAMES = ("parity", "last_word", "larger_number", "to_lumi", "copy_sentence", "topic")
BATCH, STEPS_PER_LOOK = 24, 3
# What training goes on with, whether the answers are other rows', the learning rate.
KINDS = (("the same tasks", False, 1e-4), ("each other's answers", True, 1e-3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--looks", type=int, default=20)
    parser.add_argument("--pretraining", type=int, default=300, help="steps before all runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    tasks = toy_tasks(train=200, test=48).select(list(NAMES))
    tokenizer = train_tokenizer(tasks.texts("train"), vocab_size=400)
    rows = encoded(tasks, tokenizer)
    model = small_llama(tokenizer, width=32, layers=3, heads=2, max_length=128)
    train(model, rows, steps=options.pretraining, lr=3e-3, seed=0)
    probes, retention = (ProbeSet.from_tasks(tasks, tokenizer, examples_per_task=count) for count in (8, 24))
    print("| training goes on with | alerts of forgetting | of collapse | first look that gave one, median |")
    print("|---|---|---|---|")
    for name, exchanged, lr in KINDS:
        alerts: list[tuple[str, int]] = []
        for seed in range(options.runs):
            own = exchange(rows, seed) if exchanged else rows
            steps = options.looks * STEPS_PER_LOOK
            alerts += one_run(copy.deepcopy(model), probes, retention, own, steps=steps, lr=lr, seed=seed)
        looks = sorted(look for _, look in alerts)
        median = str(looks[len(looks) // 2]) if looks else "-"
        counts = [sum(kind == wanted for kind, _ in alerts) for wanted in ("forgetting", "collapse")]
        print(f"| {name} | {' | '.join(f'{count} of {options.runs}' for count in counts)} | {median} |", flush=True)


def one_run(
    model: torch.nn.Module,
    probes: ProbeSet,
    retention: ProbeSet,
    rows: list[EncodedExample],
    *,
    steps: int,
    lr: float,
    seed: int,
) -> list[tuple[str, int]]:
    """Kind of each alert, and the look that gave it."""
    with tempfile.TemporaryDirectory() as folder:
        monitor = watch(
            model,
            probes,
            retention=retention,
            signals=Signals(effective_rank=True),
            every_n_steps=STEPS_PER_LOOK,
            max_overhead=None,
            output_dir=f"{folder}/layerscope",
            report=False,
            verbose=False,
        )
        with monitor:
            train(model, rows, steps=steps, lr=lr, seed=seed, after=monitor.step)
        measurements = monitor.monitor.record.measurements
    return [(alert.kind, look) for look, each in enumerate(measurements) for alert in each.alerts]


def train(
    model: torch.nn.Module,
    rows: list[EncodedExample],
    *,
    steps: int,
    lr: float,
    seed: int,
    after: Callable[[], object] = lambda: None,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr)
    for _ in range(steps):
        chosen = torch.randint(len(rows), (BATCH,), generator=generator).tolist()
        optimizer.zero_grad()
        mean_loss(answer_loss(model, collate([rows[index] for index in chosen]))).backward()
        optimizer.step()
        after()


def encoded(tasks: TaskCollection, tokenizer: object) -> list[EncodedExample]:
    parts = [encode_examples(name, task.split("train"), tokenizer, max_length=96) for name, task in tasks.items()]
    return [row for part in parts for row in part]


def exchange(rows: list[EncodedExample], seed: int) -> list[EncodedExample]:
    """The same prompts with each other's answers."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    return [
        EncodedExample(row.task, row.id, row.prompt, rows[other].answer) for row, other in zip(rows, order, strict=True)
    ]


if __name__ == "__main__":
    main()
