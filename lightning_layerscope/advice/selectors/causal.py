"""The layers without whose changes a tuned model is worst."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_layerscope.advice.selection import Selection, top_layers


def most_missed(loss_increase: Sequence[float], count: int) -> Selection:
    """The layers whose return to the base model costs most, by the causal check of a pilot run.

    Source: Liu et al. 2025 (arXiv 2506.00382), section 3: "critical layers" are those whose replacement by the
    pre-trained layer raises the tuned model's loss most.

    Args:
        loss_increase: For each of the layers 1..L, in nats per answer token, mean over the tasks.
        count: How many layers.

    Example:
        >>> most_missed([0.0, 0.2, -0.1], 1).layers
        (2,)
    """
    scores = tuple(loss_increase)
    return Selection("causal", top_layers(scores, count), scores)
