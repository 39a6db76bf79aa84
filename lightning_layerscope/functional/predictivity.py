"""Linear predictivity: how much of one representation a regularised linear map from another predicts."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_layerscope.functional._cells import nan_like, over_cells
from lightning_layerscope.functional._checks import check_pair
from lightning_layerscope.functional.gram import gram_of


@torch.no_grad()
def linear_predictivity(x: Tensor, y: Tensor, ridge: float = 0.1, folds: Tensor | None = None) -> Tensor:
    r"""Cross-validated R^2 of a ridge regression with intercept from ``x`` to ``y``.

    .. math:: R^2 = 1 - \frac{\sum_i \|y_i - \hat y_{-i}\|^2}{\sum_i \|y_i - \bar y_{-i}\|^2}, \qquad
              H = \tfrac1n 11^\top + K (K + \lambda I)^{-1}, \quad
              y_G - \hat y_{-G} = (I - H_{GG})^{-1} \big[(I - H) Y\big]_G

    Every example is predicted, and the baseline mean is taken, without it (or without its fold ``G``); both are exact
    in closed form, nothing is refitted. ``K`` is the centred Gram matrix of ``x`` and :math:`\lambda = \mathrm{ridge}
    \cdot \operatorname{tr}(K) / n`, so the strength does not depend on the scale of ``x``. Dimensions of ``y`` count
    with their variance.
    Source: leave-one-out identity, Allen 1974 (PRESS); as a similarity of representations, Yamins et al. 2014 and
    Kornblith et al. 2019, table 1.

    It has a direction: ``linear_predictivity(x, y)`` differs from ``linear_predictivity(y, x)``.

    Args:
        x: Predicting side, ``(examples, width_x)`` or ``(layers, examples, width_x)``.
        y: Predicted side, the same examples and layers, ``(..., examples, width_y)``.
        ridge: Penalty relative to the mean eigenvalue tr(K) / n; positive.
        folds: Integer ``(examples,)``; examples with equal numbers are left out together (prompts that share a
            passage, say). Default: leave one out, which does not depend on the order of the examples.

    Returns:
        ``()`` or ``(layers,)`` in float64, at most 1; about 0 where nothing is predicted, negative where the
        prediction is worse than the mean; NaN where a side has no variance.

    Raises:
        ValueError: Shapes that do not match, fewer than three examples, non-finite values, ``ridge`` not positive, bad
            folds.

    Example:
        >>> x = torch.arange(10.0).unsqueeze(1)
        >>> linear_predictivity(x, 3 * x - 1, ridge=1e-3).round(decimals=4)
        tensor(1., dtype=torch.float64)
    """
    check_pair(x, y, minimum=3)
    if not ridge > 0:
        raise ValueError(f"linear_predictivity: expected a positive `ridge`, got {ridge}.")
    n = x.shape[-2]
    groups = _groups(folds, n, x.device)

    def cell(a: Tensor, b: Tensor) -> Tensor:
        k, target = gram_of(a), gram_of(b)
        if k.diagonal().sum() == 0 or target.diagonal().sum() == 0:
            return nan_like(k)
        one = torch.full_like(k, 1 / n)
        penalty = ridge * k.diagonal().sum() / n
        eye = torch.eye(n, dtype=k.dtype, device=k.device)
        fitted = one + torch.linalg.solve(k + penalty * eye, k)
        return 1 - _press(fitted, target, groups) / _press(one, target, groups)

    return over_cells(cell, x, y)


def _press(hat: Tensor, target: Tensor, groups: list[Tensor] | None) -> Tensor:
    """Sum of squared left-out errors from the hat matrix and the centred Gram matrix of the target."""
    residual = torch.eye(hat.shape[0], dtype=hat.dtype, device=hat.device) - hat
    if groups is None:
        left_out = residual / residual.diagonal().unsqueeze(-1)
    else:
        left_out = torch.empty_like(residual)
        for group in groups:
            left_out[group] = torch.linalg.solve(residual[group][:, group], residual[group])
    # |E Y|_F^2 = tr(E L E^T): the width of y never enters.
    return ((left_out @ target) * left_out).sum()


def _groups(folds: Tensor | None, n: int, device: torch.device) -> list[Tensor] | None:
    if folds is None:
        return None
    if folds.shape != (n,) or folds.is_floating_point():
        raise ValueError(
            f"linear_predictivity: expected integer `folds` of shape ({n},), "
            f"got {folds.dtype} of shape {tuple(folds.shape)}."
        )
    groups = [torch.nonzero(folds.to(device) == fold).squeeze(-1) for fold in torch.unique(folds.to(device))]
    if len(groups) < 2:
        raise ValueError(
            "linear_predictivity: `folds` names a single fold, which leaves nothing to train on; use two or more."
        )
    return groups
