"""Cross-entropy of the answers' tokens, and of nothing else."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightning_layerscope.training.encoding import IGNORED
from lightning_layerscope.training.head import Observe, token_losses
from lightning_layerscope.training.packed_batch import packed


class AnswerLoss(NamedTuple):
    """Per row, over its answer's tokens.

    Attributes:
        total: ``(rows,)`` float32, summed cross-entropy in nats.
        tokens: ``(rows,)``, how many tokens that is.
        exact: ``(rows,)`` bool, whether the most likely token is right everywhere: what greedy decoding gives is then
            the answer, token by token.
    """

    total: Tensor
    tokens: Tensor
    exact: Tensor


def answer_loss(
    model: nn.Module,
    batch: dict[str, Tensor],
    *,
    most_logits: int | None = None,
    observe: Observe | None = None,
    pack: bool = False,
) -> AnswerLoss:
    """Run a batch and give each row's loss.

    Logits are made at the positions that predict an answer's token alone, where the model's head can be reached
    (:mod:`~lightning_layerscope.training.head`); elsewhere from the first of these positions on, or everywhere.

    Args:
        model: A causal language model of transformers, with or without adapters; an encoder-decoder with
            ``decoder_input_ids`` in its batches.
        batch: ``input_ids``, ``attention_mask`` and ``labels``, each ``(rows, tokens)``, padded on the right.
        most_logits: Bound of the logits in memory at a time, in elements; default 2^25 on a CPU, 2^28 elsewhere.
        observe: Shown the logits that predict an answer's token; see
            :func:`~lightning_layerscope.training.head.token_losses`.
        pack: Lay rows one behind the other after one copy of what they all begin with, where that is exact and pays
            (:mod:`~lightning_layerscope.training.packed_batch`); hooks on the model's layers see that layout.
    """
    labels = batch["labels"]
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    if "decoder_input_ids" in inputs:
        targets = labels  # the decoder's input is the answer moved by one already
    else:
        # The logits that predict a token stand one position before it.
        targets = torch.cat([labels[:, 1:], torch.full_like(labels[:, :1], IGNORED)], dim=1)
    layout = packed(model, inputs, targets) if pack and "decoder_input_ids" not in inputs else None
    if layout is None:
        losses = token_losses(model, inputs, targets, most_logits=most_logits, observe=observe)
    else:
        told = None if observe is None else layout.observed(observe)
        losses = layout.unpacked(
            token_losses(model, layout.inputs, layout.targets, most_logits=most_logits, observe=told)
        )
    return AnswerLoss(losses.loss.sum(dim=1), (targets != IGNORED).sum(dim=1), losses.right.all(dim=1))


def mean_loss(losses: AnswerLoss) -> Tensor:
    """Mean over the answers' tokens of a batch, 0-d."""
    return losses.total.sum() / losses.tokens.sum()


def device_of(model: nn.Module) -> torch.device:
    """Where a model's inputs belong."""
    return next(model.parameters()).device
