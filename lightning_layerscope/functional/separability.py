"""How well one layer tells the tasks apart: by scatter, by neighbours, by silhouette."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_layerscope.functional._cells import check_labels, nan_like, over_cells, squared_distances
from lightning_layerscope.functional._checks import check_features
from lightning_layerscope.functional.gram import center, gram_of
from lightning_layerscope.functional.mutual_knn import neighbours


@torch.no_grad()
def scatter_ratio(x: Tensor, labels: Tensor) -> Tensor:
    r"""Scatter between the task means over scatter within the tasks.

    .. math:: J = \frac{\operatorname{tr} S_B}{\operatorname{tr} S_W}
                = \frac{\sum_t n_t \|m_t - m\|^2}{\sum_t \sum_{i \in t} \|x_i - m_t\|^2}

    Source: Fukunaga 1990, "Introduction to statistical pattern recognition", chapter 10 (trace criterion). Times
    (n - tasks) / (tasks - 1) it is the index of Calinski and Harabasz 1974. Without any task structure it is about
    (tasks - 1) / (n - tasks), not zero.

    Args:
        x: ``(examples, width)`` or ``(layers, examples, width)``: the examples of all tasks.
        labels: Integer ``(examples,)``: the task of every example, the same in all layers.

    Returns:
        ``()`` or ``(layers,)`` in float64, 0 or more; NaN where there is no scatter within tasks.

    Raises:
        ValueError: Wrong shapes, fewer than two tasks, a task with one example, or non-finite values.

    Example:
        >>> x = torch.tensor([[0.0], [2.0], [10.0], [12.0]])
        >>> scatter_ratio(x, torch.tensor([0, 0, 1, 1]))
        tensor(25., dtype=torch.float64)
    """
    check_features(x, minimum=4)
    codes, counts = check_labels(x, labels, smallest=2, measure="scatter_ratio")

    def cell(a: Tensor) -> Tensor:
        a = center(a)
        means = a.new_zeros(counts.numel(), a.shape[-1]).index_add_(0, codes, a) / counts.unsqueeze(-1)
        within = (a - means[codes]).square().sum()
        return (means.square().sum(dim=-1) * counts).sum() / within if within > 0 else nan_like(a)

    return over_cells(cell, x)


@torch.no_grad()
def scatter_ratio_from_moments(means: Tensor, within: Tensor, counts: Tensor) -> Tensor:
    """:func:`scatter_ratio` where the examples are gone: from mean and scatter of each task.

    Args:
        means: ``(..., tasks, width)``, mean of each task's examples.
        within: ``(..., tasks, 1)``, summed squared distances of its examples from that mean.
        counts: ``(tasks,)``, number of its examples.

    Returns:
        ``(...)`` in float64; NaN where there is no scatter within tasks.

    Raises:
        ValueError: Fewer than two tasks, or shapes that do not fit.

    Example:
        >>> means, within = torch.tensor([[1.0], [11.0]]), torch.tensor([[2.0], [2.0]])
        >>> scatter_ratio_from_moments(means, within, torch.tensor([2, 2]))
        tensor(25., dtype=torch.float64)
    """
    if means.ndim < 2 or means.shape[-2] < 2 or within.shape[-2:] != (means.shape[-2], 1):
        raise ValueError(
            "scatter_ratio_from_moments: expected means (..., tasks >= 2, width) and within (..., tasks, 1), got "
            f"{tuple(means.shape)} and {tuple(within.shape)}."
        )
    if counts.shape != means.shape[-2:-1]:
        raise ValueError(f"scatter_ratio_from_moments: expected a count per task, got {tuple(counts.shape)}.")
    sizes = counts.to(means.device, torch.float64).unsqueeze(-1)
    each = means.double()
    centre = (each * sizes).sum(dim=-2, keepdim=True) / sizes.sum()
    between = ((each - centre).square().sum(dim=-1, keepdim=True) * sizes).sum(dim=(-2, -1))
    total = within.double().sum(dim=(-2, -1))
    return (between / total).masked_fill(total <= 0, torch.nan)


@torch.no_grad()
def knn_purity(x: Tensor, labels: Tensor, k: int = 10) -> Tensor:
    r"""Share of an example's nearest neighbours that belong to its task, cross-validated by leaving the example out.

    .. math:: \mathrm{purity} = \frac1T \sum_t \frac{1}{n_t} \sum_{i \in t} \frac{|\{j \in N_k(i) : t_j = t\}|}{k}

    :math:`N_k(i)` are the ``k`` nearest *other* examples (Euclidean); every task counts equally. Chance level: mean
    over tasks of (n_t - 1) / (n - 1). Source: the leave-one-out k-nearest-neighbour rule, Cover and Hart 1967, as a
    soft vote.

    Args:
        x: ``(examples, width)`` or ``(layers, examples, width)``: the examples of all tasks.
        labels: Integer ``(examples,)``: the task of every example.
        k: Number of neighbours; every task needs more than ``k`` examples, or it could never be pure.

    Returns:
        ``()`` or ``(layers,)`` in float64, in [0, 1]; NaN where there is no variance.

    Raises:
        ValueError: Wrong shapes, fewer than two tasks, a task with too few examples, ``k`` below 1, or non-finite
            values.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]])
        >>> knn_purity(x, torch.tensor([0, 0, 0, 1, 1, 1]), k=2).round(decimals=6)
        tensor(1., dtype=torch.float64)
    """
    if k < 1:
        raise ValueError(f"knn_purity: expected `k` of at least 1, got {k}.")
    check_features(x, minimum=4)
    codes, counts = check_labels(x, labels, smallest=k + 1, measure=f"knn_purity with k={k}")
    same = codes.unsqueeze(0) == codes.unsqueeze(1)

    def cell(a: Tensor) -> Tensor:
        distances = squared_distances(gram_of(a))
        if not bool(distances.any()):
            return nan_like(a)
        pure = (neighbours(distances, k) & same).sum(dim=-1)
        return (torch.zeros_like(counts).index_add_(0, codes, pure) / (k * counts).double()).mean()

    return over_cells(cell, x)


@torch.no_grad()
def silhouette(x: Tensor, labels: Tensor) -> Tensor:
    r"""Mean silhouette of the examples with the tasks as clusters.

    .. math:: s = \frac1n \sum_i \frac{b_i - a_i}{\max(a_i, b_i)}

    :math:`a_i` is the mean distance (Euclidean) to the other examples of the same task, :math:`b_i` the mean distance
    to the nearest other task. Source: Rousseeuw 1987, "Silhouettes", section 2. Every example counts equally.

    Args:
        x: ``(examples, width)`` or ``(layers, examples, width)``: the examples of all tasks.
        labels: Integer ``(examples,)``: the task of every example.

    Returns:
        ``()`` or ``(layers,)`` in float64, in [-1, 1]; about 0 or slightly below without task structure; NaN where a_i
        = b_i = 0 for some example.

    Raises:
        ValueError: Wrong shapes, fewer than two tasks, a task with one example, or non-finite values.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
        >>> silhouette(x, torch.tensor([0, 0, 1, 1])).round(decimals=4)
        tensor(0.8997, dtype=torch.float64)
    """
    check_features(x, minimum=4)
    codes, counts = check_labels(x, labels, smallest=2, measure="silhouette")
    member = torch.nn.functional.one_hot(codes, counts.numel()).double()

    def cell(a: Tensor) -> Tensor:
        sums = squared_distances(gram_of(a)).sqrt() @ member
        own = member.bool()
        inner = sums[own] / (counts[codes] - 1)
        outer = (sums / counts).masked_fill(own, torch.inf).amin(dim=-1)
        scale = torch.maximum(inner, outer)
        return ((outer - inner) / scale).mean()

    return over_cells(cell, x)
