"""Do tasks pull a layer in opposite directions? Cosines of their gradients, with intervals."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_layerscope.functional.uncertainty import jackknife_estimate


class Conflict(NamedTuple):
    """Pairs of tasks whose gradients point apart.

    Attributes:
        share: ``()`` share of the pairs whose cosine is negative beyond its interval.
        possible: ``()`` share of the pairs for which a negative cosine cannot be ruled out; share <= possible.
        cosine: ``(tasks, tasks)`` cosine of each pair.
        low: ``(tasks, tasks)`` lower ends of the cosines' intervals.
        high: ``(tasks, tasks)`` upper ends.
    """

    share: Tensor
    possible: Tensor
    cosine: Tensor
    low: Tensor
    high: Tensor


@torch.no_grad()
def gradient_conflict(gradients: Tensor, confidence: float = 0.9) -> Conflict:
    r"""Share of task pairs whose gradients conflict in one layer.

    .. math:: \cos(g_s, g_t) < 0, \qquad g_t = \frac{1}{G} \sum_j g_{t j}

    Source: Yu et al. 2020, "Gradient surgery for multi-task learning" (arXiv 2001.06782), definition 1. A cosine of
    noisy gradients is negative half of the time where there is nothing, so a pair counts only when its interval lies
    below 0: delete-one jackknife over the groups j, left out of both tasks together.

    Args:
        gradients: ``(tasks, groups, numbers)``: mean gradient of each task over each of its groups of probes, in any
            fixed coordinates (:func:`~lightning_layerscope.functional.sketch_gradient`).
        confidence: Coverage of one pair's interval, in (0, 1).

    Returns:
        A :class:`Conflict` in float64; pairs with a gradient of zero are NaN and count in neither share; a share
        without any defined pair is NaN.

    Raises:
        ValueError: Fewer than two tasks or three groups, a wrong shape or dtype, or non-finite gradients.

    Example:
        >>> g = torch.tensor([1.0, 0.0, 0.0])
        >>> gradient_conflict(torch.stack([g, -g, g]).unsqueeze(1).repeat(1, 4, 1)).share
        tensor(0.6667, dtype=torch.float64)
    """
    if gradients.ndim != 3 or not gradients.is_floating_point() or gradients.shape[0] < 2 or gradients.shape[1] < 3:
        raise ValueError(
            "gradient_conflict: expected floating gradients (tasks >= 2, groups >= 3, numbers), got "
            f"{gradients.dtype} {tuple(gradients.shape)}."
        )
    if not bool(torch.isfinite(gradients).all()):
        raise ValueError("gradient_conflict: some gradients are not finite; leave out the steps that overflowed.")
    # The jackknife drops entries of axis -2, so groups stand there.
    estimate = jackknife_estimate(_cosines, gradients.double(), confidence=confidence)
    pairs = torch.triu_indices(len(gradients), len(gradients), offset=1, device=gradients.device)
    low, high = estimate.low[pairs[0], pairs[1]], estimate.high[pairs[0], pairs[1]]
    known = ~torch.isnan(low)
    return Conflict(_share(high < 0, known), _share(low < 0, known), estimate.value, estimate.low, estimate.high)


def _cosines(gradients: Tensor) -> Tensor:
    means = gradients.mean(dim=1)
    norms = torch.linalg.vector_norm(means, dim=1)
    return torch.mm(means, means.mT) / torch.outer(norms, norms)


def _share(hit: Tensor, known: Tensor) -> Tensor:
    return (hit & known).double().sum() / known.double().sum()
