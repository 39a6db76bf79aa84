"""Layers that change their input much (or little), before any training."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_layerscope.advice.selection import Selection, top_layers


def least_similar_to_input(similarity: Sequence[float], count: int) -> Selection:
    r"""The layers whose output is least like their input.

    .. math:: s_l = 1 - \mathrm{CKA}(X_{l-1}, X_l)

    Sources: Ogawa et al. 2026, "Layer-wise LoRA fine-tuning: a similarity metric approach" (arXiv 2602.05988): the top
    layers by ``s`` get the adapters; Liu et al. 2025, "Spectral insights into data-oblivious critical layers" (arXiv
    2506.00382): layers unlike their neighbours are those that tuning changes, whatever the data.

    Args:
        similarity: CKA of layer l with layer l - 1 for l = 1..L, on prompts of the tasks. That of layer 1 is NaN where
            the probe token is the same in every prompt, so that its embedding does not vary.
        count: How many layers.

    Example:
        >>> least_similar_to_input([float("nan"), 0.9, 0.5, 0.7], 2).layers
        (3, 4)
    """
    scores = tuple(1 - value for value in similarity)
    return Selection("neighbour-least", top_layers(scores, count), scores)


def most_similar_to_input(similarity: Sequence[float], count: int) -> Selection:
    """The inverse of :func:`least_similar_to_input`: the layers that change their input least.

    It is the control of that rule: where both do equally well, the similarity of neighbours says nothing about which
    layers to train.

    Args:
        similarity: CKA of layer l with layer l - 1 for l = 1..L; NaN where undefined.
        count: How many layers.
    """
    scores = tuple(similarity)
    return Selection("neighbour-most", top_layers(scores, count), scores)
