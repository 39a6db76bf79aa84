"""Cross-entropy of the answers' tokens, and of nothing else."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lightning_layerscope.training.encoding import IGNORED


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


def answer_loss(model: nn.Module, batch: dict[str, Tensor]) -> AnswerLoss:
    """Run a batch and give each row's loss.

    Logits are computed from the first answer token of the batch on where the model can do that: with a large
    vocabulary, those of the prompts would cost more than the layers.

    Args:
        model: a causal language model of transformers, with or without adapters.
        batch: ``input_ids``, ``attention_mask`` and ``labels``, each ``(rows, tokens)``, padded on the right.
    """
    labels = batch["labels"]
    inputs: dict[str, Any] = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    # The logits that predict a label stand one position before it.
    first = int((labels != IGNORED).any(dim=0).int().argmax())
    keep = labels.shape[1] - max(first - 1, 0)
    if _keeps_logits(model):
        inputs["logits_to_keep"] = keep
    logits = model(**inputs, use_cache=False).logits[:, -keep:][:, :-1].float()
    wanted = labels[:, -keep:][:, 1:]
    losses = cross_entropy(logits.transpose(1, 2), wanted, ignore_index=IGNORED, reduction="none")
    learned = wanted != IGNORED
    right = (logits.detach().argmax(dim=-1) == wanted) | ~learned
    return AnswerLoss(losses.sum(dim=1), learned.sum(dim=1), right.all(dim=1))


def mean_loss(losses: AnswerLoss) -> Tensor:
    """Mean over the answers' tokens of a batch, 0-d."""
    return losses.total.sum() / losses.tokens.sum()


def _keeps_logits(model: nn.Module) -> bool:
    wrapper: Any = model
    base = wrapper.get_base_model() if hasattr(wrapper, "get_base_model") else wrapper
    return "logits_to_keep" in inspect.signature(base.forward).parameters


def device_of(model: nn.Module) -> torch.device:
    """Where a model's inputs belong."""
    return next(model.parameters()).device
