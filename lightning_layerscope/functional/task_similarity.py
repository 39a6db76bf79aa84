"""How alike the tasks of one layer are, as matrices over tasks.

Three answers to three questions: do the tasks sit in the same place (:func:`task_mean_cosine`), do they spread in the
same directions (:func:`covariance_overlap`), and do two specialists arrange the *same* prompts in the same way
(:func:`specialist_cka`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_layerscope.functional._cells import ROUNDING
from lightning_layerscope.functional._checks import (
    check_estimator,
    check_features,
    check_pair,
    minimum_examples,
)
from lightning_layerscope.functional.cka import cka_layer_matrix
from lightning_layerscope.functional.gram import center, gram_of

MARGIN = 0.25
"""Of its noise: a task mean that is not this much farther from the grand mean has no direction that could be told. Its
debiased length is then mostly chance, and cosines are divided by it: of tasks as close together as their noise, with
few directions in which they spread, one cosine in six is beyond 1.5 without a margin, and some beyond 100; with it one
in twenty, and none beyond 3."""


@torch.no_grad()
def task_mean_cosine(means: Tensor, noise: Tensor | None = None, estimator: str = "debiased") -> Tensor:
    r"""Cosine similarity of the task means after the grand mean has been removed.

    .. math:: S_{ij} = \frac{P_{ij}}{\sqrt{P_{ii} P_{jj}}}, \qquad
              P_{ij} = \langle m_i - \bar m, m_j - \bar m\rangle
                       - \sum_t (\delta_{it} - \tfrac1T) (\delta_{jt} - \tfrac1T) \, e_t, \qquad
              \bar m = \tfrac1T \sum_t m_t

    A mean over few prompts lies off the task's own by chance, each task's in a direction of its own, so that the plain
    cosine (``"biased"``, ``e = 0``) of tasks that are close together is far too low: at a true value of .75 and 5 % of
    the variance between tasks, .28 with 16 prompts and .69 with 256. ``"debiased"`` takes the expected products of
    these deviations off, with ``e_t = tr(S_t) / n_t`` the squared standard error of task t's mean
    (:func:`mean_noise`).

    The grand mean is the unweighted mean over tasks, so that a task with many prompts does not pull it. Without this
    step every cosine is close to one, because hidden states share one large offset. Two tasks alone give exactly -1:
    read the matrix from about four tasks on. The idea of shifts relative to a common origin is that of task vectors
    (Ilharco et al. 2023, "Editing models with task arithmetic", section 2).

    Args:
        means: Mean hidden state per task, ``(tasks, width)`` or ``(layers, tasks, width)``, any unit.
        noise: Squared standard error of each mean, ``(tasks,)`` or ``(layers, tasks)``; needed where debiased.
        estimator: ``"debiased"`` (may lie outside [-1, 1]; never clamped) or ``"biased"``.

    Returns:
        ``(tasks, tasks)`` or ``(layers, tasks, tasks)`` in float64, symmetric. The rows and columns of a task whose
        mean equals the grand mean, or lies hardly farther from it than its noise (squared distance at most 1.25 times
        its expectation by chance alone), have no direction and are NaN.

    Raises:
        ValueError: Fewer than two dimensions, fewer than two tasks, non-finite values, an unknown estimator, or noise
            that is missing, negative or of another shape.

    Example:
        >>> means = torch.tensor([[5.0, 1.0], [5.0, -1.0], [6.0, 0.0], [4.0, 0.0]])
        >>> task_mean_cosine(means, estimator="biased")[0].round(decimals=3) + 0.0
        tensor([ 1., -1.,  0.,  0.], dtype=torch.float64)
    """
    check_estimator(estimator)
    if means.ndim < 2:
        raise ValueError(f"Expected task means of shape (..., tasks, width), got {tuple(means.shape)}.")
    tasks = means.shape[-2]
    if tasks < 2:
        raise ValueError(f"A cosine about the grand mean needs at least two tasks, got {tasks}.")
    if not torch.isfinite(means).all():
        raise ValueError("The task means hold NaN or infinite values; drop or repair those tasks before comparing.")
    raw = means.double()
    shifts = raw - raw.mean(dim=-2, keepdim=True)
    products = shifts @ shifts.mT
    least = ROUNDING**2 * raw.square().sum(dim=-1).amax(dim=-1, keepdim=True)
    if estimator == "debiased":
        by_chance = _mean_products(noise, means)
        products = products - by_chance
        least = least.maximum(MARGIN * by_chance.diagonal(dim1=-2, dim2=-1))
    squares = products.diagonal(dim1=-2, dim2=-1)
    lengths = squares.masked_fill(squares <= least, torch.nan).sqrt()
    cosines: Tensor = products / lengths.unsqueeze(-1) / lengths.unsqueeze(-2)
    return cosines


def _mean_products(noise: Tensor | None, means: Tensor) -> Tensor:
    """Expected products of the deviations of the centred means, ``(..., tasks, tasks)``."""
    if noise is None or noise.shape != means.shape[:-1] or not bool((noise >= 0).all()):
        got = "none" if noise is None else f"{tuple(noise.shape)}, least {float(noise.min()):.3g}"
        raise ValueError(
            f"Expected `noise` of shape {tuple(means.shape[:-1])}, 0 or more, for the debiased cosine, got {got}; pass "
            'mean_noise() of the tasks\' states, or estimator="biased".'
        )
    tasks = means.shape[-2]
    centring = torch.eye(tasks, dtype=torch.float64, device=means.device) - 1 / tasks
    return (centring * noise.double().unsqueeze(-2)) @ centring


@torch.no_grad()
def mean_noise(states: Tensor) -> Tensor:
    r"""Squared standard error of the mean hidden state, :math:`\operatorname{tr}(S) / n`.

    Args:
        states: ``(..., examples, width)``.

    Returns:
        ``(...)`` in float64, on the states' device.

    Raises:
        ValueError: Fewer than two examples, a non-floating dtype, or non-finite values.
    """
    check_features(states, minimum=2)
    n = states.shape[-2]
    total: Tensor = center(states).square().sum(dim=(-2, -1), dtype=torch.float64) / (n * (n - 1))
    return total


@torch.no_grad()
def covariance_overlap(states: Sequence[Tensor], estimator: str = "debiased") -> Tensor:
    r"""Do the examples of two tasks vary in the same directions? Cosine of the tasks' covariance matrices.

    .. math:: O_{st} = \frac{\operatorname{tr}(\Sigma_s \Sigma_t)}
                       {\sqrt{\operatorname{tr}(\Sigma_s^2) \operatorname{tr}(\Sigma_t^2)}}

    The tasks' means and the sizes of their covariances play no part, and the examples need not be the same or equally
    many. Source: the RV coefficient (Robert and Escoufier 1976) between covariance matrices. With fewer examples than
    dimensions the sample's tr(S^2) exceeds tr(Sigma^2) and the plug-in (``"biased"``) is far too low;
    ``"debiased"`` uses the unbiased U-statistic of tr(Sigma^2) (Chen, Zhang and Zhong 2010), of which the products of
    different tasks have no need.

    Args:
        states: Per task the hidden states, ``(examples_t, width)`` or ``(layers, examples_t, width)``; equal widths.
        estimator: ``"debiased"`` (off-diagonal values may slightly exceed 1) or ``"biased"``.

    Returns:
        ``(tasks, tasks)`` or ``(layers, tasks, tasks)`` in float64, symmetric, 0 or more; a task without variance (or
        without a positive estimate of it) has NaN in its row and column.

    Raises:
        ValueError: Fewer than two tasks, too few examples of one (debiased: 4, biased: 2), shapes that do not match,
            non-finite values, or an unknown estimator.

    Example:
        >>> along = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
        >>> covariance_overlap([along, along.flip(-1), 2 * along + 1], estimator="biased")[0].round(decimals=6)
        tensor([1., 0., 1.], dtype=torch.float64)
    """
    _check_states(states, estimator, "covariance_overlap")
    first = states[0]
    for task, x in enumerate(states):
        if x.shape[:-2] != first.shape[:-2] or x.shape[-1] != first.shape[-1]:
            raise ValueError(
                "covariance_overlap: the tasks must have the same layers and width (only the examples may differ), got "
                f"{tuple(first.shape)} for task 0 and {tuple(x.shape)} for task {task}."
            )
    flat = [x.reshape(-1, *x.shape[-2:]) for x in states]
    layers = [_overlap([x[layer].double() for x in flat], estimator) for layer in range(flat[0].shape[0])]
    return torch.stack(layers).reshape((*first.shape[:-2], len(states), len(states)))


def _overlap(states: list[Tensor], estimator: str) -> Tensor:
    states = [center(x) for x in states]
    sizes = [x.shape[0] for x in states]
    products = states[0].new_zeros(len(states), len(states))
    for s, x in enumerate(states):
        for offset, block in enumerate(torch.split(x @ torch.cat(states[s:]).mT, sizes[s:], dim=-1)):
            t = s + offset
            # |X_s X_t^T|_F^2 = tr(X_s^T X_s X_t^T X_t)
            products[s, t] = products[t, s] = block.square().sum() / ((sizes[s] - 1) * (sizes[t] - 1))
            if s == t and estimator == "debiased":
                products[s, s] = _unbiased_square(block)
    scale = products.diagonal().clone()
    scale = scale.masked_fill(scale <= 0, torch.nan).sqrt()
    return products / scale.unsqueeze(0) / scale.unsqueeze(1)


def _unbiased_square(k: Tensor) -> Tensor:
    """Unbiased tr(Sigma^2) from a centred Gram matrix: the squared norm of its U-centred version over n(n-3)."""
    n = k.shape[0]
    a = k.diagonal()
    total = k.square().sum() - n / (n - 2) * a.square().sum() + a.sum() ** 2 / ((n - 1) * (n - 2))
    return total / (n * (n - 3))


@torch.no_grad()
def specialist_cka(states: Sequence[Tensor], estimator: str = "debiased") -> Tensor:
    r"""Linear CKA between all pairs of specialists that were run through the *same* prompts.

    Entry (s, t) says whether the model tuned on task s and the model tuned on task t arrange these prompts in the same
    way: near 1 in layers that tuning left in common. Formula and estimators as in :func:`linear_cka` (Kornblith et al.
    2019; debiased: Song et al. 2012); between models, Zhao, Ziser and Cohen 2024.

    Args:
        states: Per specialist the hidden states of the shared prompts, ``(examples, width_s)`` or
            ``(layers, examples, width_s)``, rows in the same order.
        estimator: ``"debiased"`` or ``"biased"``.

    Returns:
        ``(specialists, specialists)`` or ``(layers, specialists, specialists)`` in float64, symmetric; NaN where a side
        has no variance (debiased: no positive self-similarity).

    Raises:
        ValueError: Fewer than two specialists, too few examples (debiased: 4, biased: 2), rows or layers that do not
            match, non-finite values, or an unknown estimator.

    Example:
        >>> prompts = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 3.0], [4.0, 1.0], [2.0, 2.0]])
        >>> specialist_cka([prompts, 2 * prompts.flip(-1) + 1])[0].round(decimals=4)
        tensor([1., 1.], dtype=torch.float64)
    """
    _check_states(states, estimator, "specialist_cka")
    for position, other in enumerate(states[1:], start=1):
        check_pair(states[0], other, minimum=2, names=("states[0]", f"states[{position}]"))
    flat = [x.reshape(-1, *x.shape[-2:]) for x in states]
    layers = []
    for layer in range(flat[0].shape[0]):
        grams = torch.stack([gram_of(x[layer].double()) for x in flat])
        layers.append(cka_layer_matrix(grams, grams, estimator=estimator))
    return torch.stack(layers).reshape((*states[0].shape[:-2], len(states), len(states)))


def _check_states(states: Sequence[Tensor], estimator: str, measure: str) -> None:
    check_estimator(estimator)
    if len(states) < 2:
        raise ValueError(f"{measure} compares two or more sets of hidden states, got {len(states)}.")
    for position, x in enumerate(states):
        check_features(x, minimum=minimum_examples(estimator), name=f"states[{position}]")
