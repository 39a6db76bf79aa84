"""Loss and exact answers per task on held-out rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from lightning_layerscope.extraction import no_trace
from lightning_layerscope.training.encoding import EncodedExample, collate, padding_id
from lightning_layerscope.training.loss import answer_loss, device_of

if TYPE_CHECKING:
    from lightning_layerscope.training.datamodule import InstructionDataModule

_TOKENS_PER_BATCH = 4096


@dataclass(frozen=True)
class TaskScore:
    """How well a model answers one task.

    Attributes:
        loss: cross-entropy per answer token, in nats.
        exact: share of the examples that greedy decoding answers to the letter.
        examples: held-out examples.
        tokens: of their answers.
    """

    loss: float
    exact: float
    examples: int
    tokens: int


def evaluate_tasks(model: nn.Module, datamodule: InstructionDataModule) -> dict[str, float]:
    """Held-out loss of each task: cross-entropy per answer token, in nats.

    The model is left as it was (:func:`~lightning_layerscope.no_trace`), so this may run inside a training.

    Args:
        model: a causal language model, with or without adapters, or an `InstructionModule`.
        datamodule: gives the held-out rows; see its ``max_test_examples``.
    """
    return {task: score.loss for task, score in score_tasks(model, datamodule).items()}


def score_tasks(model: nn.Module, datamodule: InstructionDataModule) -> dict[str, TaskScore]:
    """Held-out loss and share of exact answers of each task; see `evaluate_tasks`."""
    return score_rows(model, datamodule.test_rows(), padding=padding_id(datamodule.tokenizer))


def score_rows(
    model: nn.Module,
    rows: Mapping[str, Sequence[EncodedExample]],
    *,
    padding: int = 0,
    max_tokens_per_batch: int = _TOKENS_PER_BATCH,
) -> dict[str, TaskScore]:
    """The same for rows that are encoded already, task to rows.

    Batches hold rows of all tasks, by length; a row's loss does not depend on the rows beside it but for rounding.
    """
    inner = getattr(model, "model", model) if hasattr(model, "training_step") else model
    device = device_of(inner)
    ordered = sorted((row for part in rows.values() for row in part), key=len, reverse=True)
    totals = {task: [0.0, 0.0, 0.0, 0.0] for task in rows}
    with no_trace(inner):
        start = 0
        while start < len(ordered):
            # Longest first: the first row of a batch is its width.
            count = max(1, max_tokens_per_batch // len(ordered[start]))
            chosen = ordered[start : start + count]
            start += count
            batch = {key: value.to(device) for key, value in collate(chosen, padding).items()}
            losses = answer_loss(inner, batch)
            for row, total, tokens, exact in zip(
                chosen, losses.total.tolist(), losses.tokens.tolist(), losses.exact.tolist(), strict=True
            ):
                sums = totals[row.task]
                for place, value in enumerate((total, tokens, exact, 1)):
                    sums[place] += value
    return {
        task: TaskScore(total / tokens, exact / count, int(count), int(tokens))
        for task, (total, tokens, exact, count) in totals.items()
    }
