"""The layers that the tasks' first gradients push hardest."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_layerscope.advice.selection import Selection, top_layers


def largest_gradients(norms: Sequence[float], count: int) -> Selection:
    r"""The layers with the largest gradients before any step.

    .. math:: s_l = \frac{1}{B} \sum_b \Big( \sum_{m \in l} \big\| \partial \mathcal{L}_b / \partial W_m \big\|_F^2
              \Big)^{1/2}

    over a few labelled batches b and the layer's target matrices m. Source: Saket 2026, "Aletheia: gradient-guided
    layer selection" (arXiv 2604.15351), without its unequal ranks, so that rules differ in the layers alone.

    Args:
        norms: ``s`` of layers 1..L.
        count: How many layers.

    Example:
        >>> largest_gradients([0.2, 0.4, 0.1], 2).layers
        (1, 2)
    """
    scores = tuple(norms)
    return Selection("gradient-probe", top_layers(scores, count), scores)
