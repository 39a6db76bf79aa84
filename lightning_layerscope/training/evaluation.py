"""Loss and exact answers per task on held-out rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lightning_layerscope.extraction import no_trace
from lightning_layerscope.extraction.batching import rows_of_similar_length, worthwhile_padding
from lightning_layerscope.training.encoding import EncodedExample, collate
from lightning_layerscope.training.head import most_positions, reachable_head
from lightning_layerscope.training.loss import AnswerLoss, answer_loss, device_of

if TYPE_CHECKING:
    from lightning_layerscope.training.datamodule import InstructionDataModule

_TOKENS_PER_BATCH = 4096
# Passes of few rows are slow, so that one may need the logits of so many pieces.
_PIECES = 4


@dataclass(frozen=True)
class TaskScore:
    """How well a model answers one task.

    Attributes:
        loss: Cross-entropy per answer token, in nats.
        exact: Share of the examples that greedy decoding answers to the letter.
        examples: Held-out examples.
        tokens: Number of tokens of their answers.
    """

    loss: float
    exact: float
    examples: int
    tokens: int


def evaluate_tasks(model: nn.Module, datamodule: InstructionDataModule) -> dict[str, float]:
    """Held-out loss of each task: cross-entropy per answer token, in nats.

    The model is left as it was (:func:`~lightning_layerscope.no_trace`), so this may run inside a training.

    Args:
        model: A causal language model, with or without adapters, or an ``InstructionModule``.
        datamodule: Gives the held-out rows; see its ``max_test_examples``.
    """
    return {task: score.loss for task, score in score_tasks(model, datamodule).items()}


def score_tasks(
    model: nn.Module, datamodule: InstructionDataModule, *, progress: Callable[[int, int], None] | None = None
) -> dict[str, TaskScore]:
    """Held-out loss and share of exact answers of each task; see ``evaluate_tasks``."""
    return score_rows(model, datamodule.test_rows(), progress=progress)


def score_rows(
    model: nn.Module,
    rows: Mapping[str, Sequence[EncodedExample]],
    *,
    max_tokens_per_batch: int = _TOKENS_PER_BATCH,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, TaskScore]:
    """The same for rows that are encoded already, task to rows."""
    inner = getattr(model, "model", model) if hasattr(model, "training_step") else model
    together = [row for part in rows.values() for row in part]
    losses = row_losses(inner, together, max_tokens_per_batch=max_tokens_per_batch, progress=progress)
    scores, start = {}, 0
    for task, part in rows.items():
        own = slice(start, start + len(part))
        start += len(part)
        tokens = int(losses.tokens[own].sum())
        loss, exact = float(losses.total[own].double().sum()), int(losses.exact[own].sum())
        scores[task] = TaskScore(loss / tokens, exact / len(part), len(part), tokens)
    return scores


def row_losses(
    model: nn.Module,
    rows: Sequence[EncodedExample],
    *,
    max_tokens_per_batch: int = _TOKENS_PER_BATCH,
    progress: Callable[[int, int], None] | None = None,
    first_words: Callable[[Tensor, Tensor], None] | None = None,
) -> AnswerLoss:
    """Loss of every row, in batches of similar length; the model is left as it was.

    Args:
        model: A causal language model, with or without adapters.
        rows: Encoded, of any tasks. A row's loss does not depend on the rows beside it but for rounding.
        max_tokens_per_batch: Bound of the padded tokens in one pass. Passes are also bounded by the logits that they
            need, see :func:`~lightning_layerscope.training.loss.answer_loss`.
        progress: Called with (rows done, rows in all) after every pass.
        first_words: Shown the logits of the token behind each prompt, ``(some rows, words)``, and which rows these are.

    Returns:
        In the order of the rows, on the CPU.
    """
    device, batches = device_of(model), _plan(model, rows, max_tokens_per_batch)
    losses: list[AnswerLoss] = []
    done = 0
    with no_trace(model):
        for indices in batches:
            together = [rows[index] for index in indices]
            batch = {name: value.to(device) for name, value in collate(together).items()}
            observe = None if first_words is None else partial(_show_first, first_words, indices, together)
            part = answer_loss(model, batch, observe=observe, pack=True)
            losses.append(AnswerLoss(*(values.cpu() for values in part)))
            done += len(indices)
            if progress is not None:
                progress(done, len(rows))
    order = torch.tensor([index for indices in batches for index in indices]).argsort()
    return AnswerLoss(*(torch.cat(parts)[order] for parts in zip(*losses, strict=True)))


def _show_first(
    first_words: Callable[[Tensor, Tensor], None],
    indices: Sequence[int],
    rows: Sequence[EncodedExample],
    logits: Tensor,
    places: Tensor,
) -> None:
    """Of the logits of a batch, those of the last token of each prompt."""
    width = max(map(len, rows))
    ends = torch.tensor([row * width + len(each.prompt) - 1 for row, each in enumerate(rows)], device=places.device)
    chosen = torch.isin(places, ends)
    if bool(chosen.any()):
        first_words(logits[chosen], torch.tensor(indices)[places[chosen].cpu() // width])


def _plan(model: nn.Module, rows: Sequence[EncodedExample], max_tokens: int) -> list[list[int]]:
    """Which rows go together, longest first: as many as tokens, padding and logits allow, and at least one."""
    most, padding = most_positions(model), worthwhile_padding(device_of(model))
    reachable = reachable_head(model) is not None
    if reachable:  # its logits are made in pieces of that size; an unusual model would make so many at once
        most *= _PIECES
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]), reverse=True)
    batches, start = [], 0
    while start < len(order):
        width = len(rows[order[start]])
        indices = order[start : start + max(1, max_tokens // width)]
        indices = indices[: rows_of_similar_length([len(rows[index]) for index in indices], padding)]
        answers = shortest = 0
        for count, index in enumerate(indices):
            answers += len(rows[index].answer)
            shortest = min(shortest or width, len(rows[index].prompt))
            # Where the head cannot be reached, logits are made from the batch's first answer on.
            logits = answers if reachable else (count + 1) * (width - shortest + 1)
            if count and logits > most:
                indices = indices[:count]
                break
        batches.append(indices)
        start += len(indices)
    return batches
