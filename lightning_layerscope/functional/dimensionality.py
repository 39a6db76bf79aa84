"""How many dimensions the examples of one layer use, counted in three ways from the spectrum of their covariance."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_layerscope.functional._cells import nan_like, over_cells, principal_axes
from lightning_layerscope.functional._checks import check_features
from lightning_layerscope.functional.gram import gram_of
from lightning_layerscope.functional.svcca import components_needed


@torch.no_grad()
def effective_rank(x: Tensor) -> Tensor:
    r"""Exponential of the entropy of the normalised singular values.

    .. math:: \mathrm{erank} = \exp\Big(-\sum_i p_i \log p_i\Big), \qquad p_i = \frac{\sigma_i}{\sum_j \sigma_j}

    :math:`\sigma` are the singular values of the centred matrix. Source: Roy and Vetterli 2007, "The effective rank",
    definition 1. It counts weak directions more than :func:`participation_ratio` does. All three counts are bounded by
    examples - 1 and too low when the examples are few; compare only values with equal numbers of examples.

    Args:
        x: ``(examples, width)`` or ``(layers, examples, width)``.

    Returns:
        ``()`` or ``(layers,)`` in float64, between 1 and min(examples - 1, width); NaN where there is no variance.

    Raises:
        ValueError: Wrong shape, fewer than two examples, or non-finite values.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        >>> effective_rank(x).round(decimals=6)
        tensor(2., dtype=torch.float64)
    """

    def count(values: Tensor) -> Tensor:
        p = values.sqrt() / values.sqrt().sum()
        return torch.exp(torch.special.entr(p).sum())

    return _from_spectrum(x, count, "effective_rank")


@torch.no_grad()
def participation_ratio(x: Tensor) -> Tensor:
    r"""Squared sum of the covariance's eigenvalues over the sum of their squares.

    .. math:: \mathrm{PR} = \frac{(\sum_i \lambda_i)^2}{\sum_i \lambda_i^2}
              = \frac{\operatorname{tr}(S)^2}{\operatorname{tr}(S^2)}

    Source: Gao et al. 2017, "A theory of multineuronal dimensionality, dynamics and measurement". A few strong outlier
    dimensions bring it near 1, whatever the rest does.

    Args:
        x: ``(examples, width)`` or ``(layers, examples, width)``.

    Returns:
        ``()`` or ``(layers,)`` in float64, between 1 and min(examples - 1, width); NaN where there is no variance.

    Raises:
        ValueError: Wrong shape, fewer than two examples, or non-finite values.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        >>> participation_ratio(x).round(decimals=6)
        tensor(2., dtype=torch.float64)
    """
    check_features(x, minimum=2)

    def cell(a: Tensor) -> Tensor:
        k = gram_of(a)
        squares = (k * k).sum()
        return k.diagonal().sum() ** 2 / squares if squares > 0 else nan_like(k)

    return over_cells(cell, x)


@torch.no_grad()
def components_for_variance(x: Tensor, variance: float = 0.99, interpolate: bool = False) -> Tensor:
    r"""Fewest principal components that hold the share ``variance`` of the variance.

    .. math:: \min \Big\{ k : \sum_{i \le k} \lambda_i \ge \mathrm{variance} \cdot \sum_i \lambda_i \Big\}

    Source: Zhao, Ziser and Cohen 2024, "Layer by layer", figure 5 (99 %).

    Args:
        x: ``(examples, width)`` or ``(layers, examples, width)``.
        variance: Share of the variance, in (0, 1].
        interpolate: Return the fractional number at which the cumulated share, drawn as a line, reaches ``variance``
            (between the whole number minus one and the whole number). It changes smoothly with the examples, so ask for
            it inside :func:`jackknife_estimate`.

    Returns:
        A whole number (or a fractional one) in float64, ``()`` or ``(layers,)``, between 1 and min(examples - 1,
        width); NaN without variance.

    Raises:
        ValueError: Wrong shape, fewer than two examples, non-finite values, or ``variance`` out of range.

    Example:
        >>> x = torch.tensor([[10.0, 0.0], [-10.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        >>> components_for_variance(x), components_for_variance(x, variance=0.999)
        (tensor(1., dtype=torch.float64), tensor(2., dtype=torch.float64))
    """
    if not 0 < variance <= 1:
        raise ValueError(f"components_for_variance: expected `variance` in (0, 1], got {variance}.")

    def count(values: Tensor) -> Tensor:
        whole = components_needed(values, variance)
        if not interpolate:
            return torch.tensor(whole, dtype=torch.float64, device=values.device)
        shares = values / values.sum()
        return whole - (shares[:whole].sum() - variance) / shares[whole - 1]

    return _from_spectrum(x, count, "components_for_variance")


def _from_spectrum(x: Tensor, count: Callable[[Tensor], Tensor], measure: str) -> Tensor:
    check_features(x, minimum=2)

    def cell(a: Tensor) -> Tensor:

        values, _ = principal_axes(gram_of(a))
        return count(values) if values.numel() else nan_like(values)

    return over_cells(cell, x)
