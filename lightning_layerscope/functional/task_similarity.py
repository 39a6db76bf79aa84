"""How alike the tasks of one layer are, as matrices over tasks.

Three answers to three questions: do the tasks sit in the same place (:func:`task_mean_cosine`), do they spread in the same
directions (:func:`covariance_overlap`), and do two specialists arrange the *same* prompts in the same way
(:func:`specialist_cka`).
"""

from __future__ import annotations

import torch
from torch import Tensor

# A length below this share of the raw vectors' length is rounding left over from the subtraction, not a direction.
_ROUNDING = 64 * torch.finfo(torch.float64).eps


@torch.no_grad()
def task_mean_cosine(means: Tensor) -> Tensor:
    r"""Cosine similarity of the task means after the grand mean has been removed.

    .. math:: S_{ij} = \frac{\langle m_i - \bar m, m_j - \bar m\rangle}{\|m_i - \bar m\| \, \|m_j - \bar m\|}, \qquad
              \bar m = \tfrac1T \sum_t m_t

    The grand mean is the unweighted mean over tasks, so that a task with many prompts does not pull it. Without this step
    every cosine is close to one, because hidden states share one large offset. Two tasks alone give exactly -1: read the
    matrix from about four tasks on. The idea of shifts relative to a common origin is that of task vectors
    (Ilharco et al. 2023, "Editing models with task arithmetic", section 2).

    Args:
        means: Mean hidden state per task, ``(tasks, width)`` or ``(layers, tasks, width)``, any unit.

    Returns:
        ``(tasks, tasks)`` or ``(layers, tasks, tasks)`` in float64, symmetric, in [-1, 1] up to rounding. The rows and columns
        of a task whose mean equals the grand mean have no direction and are NaN.

    Raises:
        ValueError: Fewer than two dimensions, fewer than two tasks, or non-finite values.

    Example:
        >>> means = torch.tensor([[5.0, 1.0], [5.0, -1.0], [6.0, 0.0], [4.0, 0.0]])
        >>> task_mean_cosine(means)[0].round(decimals=3) + 0.0
        tensor([ 1., -1.,  0.,  0.], dtype=torch.float64)
    """
    if means.ndim < 2:
        raise ValueError(f"Expected task means of shape (..., tasks, width), got {tuple(means.shape)}.")
    if means.shape[-2] < 2:
        raise ValueError("A cosine about the grand mean needs at least two tasks, got " + str(means.shape[-2]) + ".")
    if not torch.isfinite(means).all():
        raise ValueError("The task means hold NaN or infinite values; drop or repair those tasks before comparing.")
    raw = means.double()
    shifts = raw - raw.mean(dim=-2, keepdim=True)
    lengths = shifts.norm(dim=-1, keepdim=True)
    scale = raw.norm(dim=-1, keepdim=True).amax(dim=-2, keepdim=True)
    lengths = lengths.masked_fill(lengths <= _ROUNDING * scale, torch.nan)
    directions = shifts / lengths
    return directions @ directions.mT
