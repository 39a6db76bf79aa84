"""Loss of each held-out row, so that two models can be compared row by row."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from lightning_layerscope.extraction import no_trace
from lightning_layerscope.training.encoding import EncodedExample, collate
from lightning_layerscope.training.loss import answer_loss, device_of


def row_losses(
    model: nn.Module, rows: Sequence[EncodedExample], *, padding: int, max_tokens_per_batch: int = 8192
) -> list[float]:
    """Cross-entropy per answer token of each row, in nats; the model is left as it was.

    Args:
        model: A causal language model, with or without adapters.
        rows: Encoded, all of one task.
        padding: Token id to pad with.
        max_tokens_per_batch: Bound of the padded tokens in one pass.
    """
    device = device_of(model)
    order = sorted(range(len(rows)), key=lambda place: len(rows[place]), reverse=True)
    found = [math.nan] * len(rows)
    with no_trace(model):
        start = 0
        while start < len(order):
            places = order[start : start + max(1, max_tokens_per_batch // len(rows[order[start]]))]
            start += len(places)
            batch = collate([rows[place] for place in places], padding)
            losses = answer_loss(model, {key: value.to(device) for key, value in batch.items()})
            for place, loss in zip(places, (losses.total.double() / losses.tokens).tolist(), strict=True):
                found[place] = loss
    return found
