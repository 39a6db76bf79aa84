"""What the demo may be told, what comes out of it, and where."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_layerscope.measurements import RunRecord
    from lightning_layerscope.training import TaskScore

PROJECT = "layerscope-demo"
RESULTS, TUNED, BASE, SUMMARY = "results", "tuned", "base", "demo.json"
MAX_LENGTH, BATCH = 160, 16

# Of the run, closer where representations move most; the first and the last measurement come on top.
SHARES = (0.02, 0.05, 0.12, 0.25, 0.5, 0.75)


@dataclass(frozen=True)
class DemoOptions:
    """What the demo may be told.

    Attributes:
        tasks: Any source of ``load_tasks``.
        model: Folder or hub name of a model to tune; by default a small Llama is made and pre-trained.
        steps: Optimiser steps of the fine-tuning, at least 6.
        pretrain_steps: Steps of the pre-training of the small Llama.
        out: Folder of all results.
        seed: Seed of everything random.
        examples_per_task: Probe prompts per task.
        lora: Train adapters instead of all weights.
        chat: Use the tokenizer's chat template, or never; None uses it for conversations where there is one.
        columns: Field to column, as in ``load_tasks``.
    """

    tasks: str = "toy"
    model: str | None = None
    steps: int = 300
    pretrain_steps: int = 200
    out: Path = Path(PROJECT)
    seed: int = 0
    examples_per_task: int = 32
    lora: bool = False
    chat: bool | None = None
    columns: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.steps <= len(SHARES) - 1:
            raise ValueError(f"the demo measures while it trains: expected --steps of 6 or more, got {self.steps}")
        if self.examples_per_task < 4:
            raise ValueError(f"expected 4 or more examples per task, got {self.examples_per_task}")
        if self.pretrain_steps < 1:
            raise ValueError(f"expected 1 or more steps of pre-training, got {self.pretrain_steps}")


@dataclass(frozen=True)
class DemoResult:
    """What came out.

    Attributes:
        folder: The folder of all results.
        report: The HTML report.
        record: The measurements.
        before: Held-out scores by task, before the fine-tuning.
        after: The same afterwards.
        wandb_folder: The folder of the offline run; None when it was logged online or not at all.
        wandb_url: Address of the online run.
        seconds: Wall time.
    """

    folder: Path
    report: Path
    record: RunRecord
    before: dict[str, TaskScore]
    after: dict[str, TaskScore]
    wandb_folder: Path | None
    wandb_url: str | None
    seconds: float


def measured_steps(steps: int) -> list[int]:
    """The steps between the first and the last at which the demo measures, all different.

    Example:
        >>> measured_steps(300), measured_steps(6)
        ([6, 15, 36, 75, 150, 225], [1, 2, 3, 4, 5])
    """
    chosen: list[int] = []
    for share in SHARES:
        chosen.append(max(round(share * steps), chosen[-1] + 1 if chosen else 1))
    return [step for step in chosen if step < steps]


def free_folder(wanted: Path) -> Path:
    """The folder itself, or with the first number that makes it new.

    Raises:
        FileExistsError: When the path is a file.
    """
    if wanted.is_file():
        raise FileExistsError(f"{wanted} is a file; name a folder with --out")
    folder, number = wanted, 1
    while folder.exists() and any(folder.iterdir()):
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
