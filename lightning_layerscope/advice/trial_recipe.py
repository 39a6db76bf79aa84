"""How the short trainings of a trial are run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrialRecipe:
    """One adapter on all tasks together; the same for every selector, so that they differ in their layers alone.

    Attributes:
        kinds: Ends of the names of the matrices that get adapters.
        budget_layers: K: a selector that scores layers names so many.
        rank: Rank of the adapters on K layers; K layers at this rank are the budget of parameters.
        scaling: LoRA's alpha / rank, one for all ranks.
        learning_rate: The learning rate of AdamW at its peak; warm-up and cosine as ``InstructionModule``.
        epochs: Over the training rows.
        batch_size: Rows per step.
        max_length: Tokens of prompt and answer; longer rows are cut.
        train_rows: Per task.
        test_rows: Held out per task.
        retention_rows: Rows of each skill of the retention set.
    """

    kinds: tuple[str, ...] = ("q_proj", "v_proj")
    budget_layers: int = 6
    rank: int = 6
    scaling: float = 2.0
    learning_rate: float = 5e-4
    epochs: int = 1
    batch_size: int = 16
    max_length: int = 96
    train_rows: int = 64
    test_rows: int = 32
    retention_rows: int = 32

    def __post_init__(self) -> None:
        if min(self.budget_layers, self.rank, self.epochs, self.batch_size, self.train_rows) < 1 or self.test_rows < 2:
            raise ValueError(f"expected counts of 1 or more and at least 2 held-out rows, got {self}.")
