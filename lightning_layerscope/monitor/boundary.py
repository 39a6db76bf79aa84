"""Where each prompt of a validation batch ends: before the first token that has a label."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

IGNORED = -100
"""The label of tokens that no loss counts."""

_INPUTS = frozenset({"input_ids", "attention_mask", "position_ids", "token_type_ids", "special_tokens_mask"})


def batch_entries(batch: Any) -> dict[str, Any]:
    """What a batch holds, by name: of a mapping, a named tuple, a dataclass, a plain sequence, a tensor.

    The copy is shallow: a module that takes the labels out of its batch does not take them out of this one.
    """
    if isinstance(batch, Mapping):
        return {str(name): value for name, value in batch.items()}
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        return {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return dict(zip(batch._fields, batch, strict=True))
    if isinstance(batch, Sequence) and not isinstance(batch, str | bytes):
        return {f"entry {position}": value for position, value in enumerate(batch)}
    return {"the batch": batch} if isinstance(batch, Tensor) else {}


def labels_of_batch(entries: Mapping[str, Any], input_ids: Tensor) -> Tensor | None:
    """The labels of the tokens that went through the model, ``(B, T)``, for a model that was not given them.

    Args:
        entries: What the batch holds, by name.
        input_ids: What the model was called with, ``(B, T)``.

    Returns:
        The labels; None where the batch has none for its tokens, so that whole rows are prompts.

    Raises:
        ValueError: When it cannot be known.
    """
    tensors = {name: value for name, value in entries.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(
            "the model was called without labels, and the batch holds no tensors to find them in, so that it is "
            "unknown where the prompts end; give batches with input_ids and labels, or pass labels to the model"
        )
    labels = tensors.get("labels")
    if labels is not None:
        return _fitting(labels, tensors.get("input_ids"), input_ids)
    candidates = [name for name, value in tensors.items() if _could_be_labels(name, value, input_ids)]
    if candidates:
        raise ValueError(
            f"the model was called without labels, and {' or '.join(map(repr, candidates))} of the batch could be "
            "them, so that it is unknown where the prompts end; call them 'labels' in a dict, or pass them to the model"
        )
    return None


def _fitting(labels: Tensor, batch_ids: Tensor | None, input_ids: Tensor) -> Tensor | None:
    """The labels of those positions that went through the model: all of the batch's, or the first ones."""
    if batch_ids is not None and labels.shape != batch_ids.shape:
        return None  # of rows, or of another sequence
    if labels.shape == input_ids.shape and (batch_ids is None or batch_ids.shape == input_ids.shape):
        return labels
    if batch_ids is None:
        return None if labels.ndim != 2 else _unknown(labels, input_ids)
    width = input_ids.shape[1]
    first = batch_ids[:, :width].to(input_ids.device)
    if first.shape == input_ids.shape and torch.equal(first, input_ids):
        return labels[:, :width]
    return _unknown(labels, input_ids)


def _unknown(labels: Tensor, input_ids: Tensor) -> Tensor | None:
    raise ValueError(
        f"the batch has labels of shape {tuple(labels.shape)}, and the model was called with other tokens of shape "
        f"{tuple(input_ids.shape)}, so that it is unknown where the prompts end; pass labels to the model"
    )


def _could_be_labels(name: str, value: Tensor, input_ids: Tensor) -> bool:
    if name in _INPUTS or value.shape != input_ids.shape or value.is_floating_point() or value.dtype == torch.bool:
        return False
    here = value.to(input_ids.device)
    return not torch.equal(here, input_ids) and bool(((here != 0) & (here != 1)).any())


def prompt_mask(input_ids: Tensor, attention_mask: Any = None, labels: Any = None, position_ids: Any = None) -> Tensor:
    """Which tokens of each row are its prompt, ``(B, T)`` bool.

    All real tokens before the first that has a label; all real tokens where the whole row has labels, or nothing has.
    Labels that stand one position early, over the token that predicts them, are known by their values.

    Raises:
        ValueError: For packed rows, which hold several examples.
    """
    mask = torch.ones_like(input_ids, dtype=torch.bool)
    if isinstance(attention_mask, Tensor) and attention_mask.shape == input_ids.shape:
        mask = attention_mask.bool()
    if isinstance(position_ids, Tensor) and position_ids.shape == input_ids.shape:
        backwards = (position_ids[:, 1:] < position_ids[:, :-1]) & mask[:, 1:] & mask[:, :-1]
        if bool(backwards.any()):
            raise ValueError(
                "the validation batches are packed: a row holds several examples. Use active mode, or validation "
                "without packing"
            )
    if isinstance(labels, Tensor) and labels.shape == input_ids.shape:
        labels = labels.to(input_ids.device)
        answered = (labels != IGNORED) & mask
        if _shifted(labels, input_ids, answered):
            answered = torch.cat([torch.zeros_like(answered[:, :1]), answered[:, :-1]], dim=1)
        prompt = mask & (answered.cumsum(1) == 0)
        mask = torch.where(prompt.any(1, keepdim=True), prompt, mask)
    return mask


def _shifted(labels: Tensor, input_ids: Tensor, answered: Tensor) -> bool:
    """Whether a label is the next token rather than its own."""
    inner = answered[:, :-1]
    own, following = input_ids[:, :-1], input_ids[:, 1:]
    here = labels[:, :-1]
    return bool(inner.any()) and bool((here == following)[inner].all()) and not bool((here == own)[inner].all())
