"""The layers that a short pilot run moved most."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_layerscope.advice.selection import Selection, top_layers


def most_moved(drift: Sequence[float], count: int) -> Selection:
    r"""The layers whose states a pilot run on all layers changed most.

    .. math:: s_l = 1 - \mathrm{CKA}(X^\text{base}_l, X^\text{pilot}_l)

    Source: the drift curve of "Layer-wise analysis of supervised fine-tuning" 2026 (arXiv 2604.11838), read off a short
    run instead of a finished one. A layer also moves because the layers below it moved.

    Args:
        drift: ``s`` of layers 1..L, mean over the tasks.
        count: How many layers.

    Example:
        >>> most_moved([0.0, 0.2, 0.3], 1).layers
        (3,)
    """
    scores = tuple(drift)
    return Selection("pilot-drift", top_layers(scores, count), scores)


def most_moved_per_update(drift: Sequence[float], count: int) -> Selection:
    """The same by drift over relative update (``drift_per_update``; Billa 2026, arXiv 2604.17177).

    Args:
        drift: Drift per update of layers 1..L; NaN where a layer's weights did not move.
        count: How many layers.
    """
    scores = tuple(drift)
    return Selection("pilot-drift-per-update", top_layers(scores, count), scores)
