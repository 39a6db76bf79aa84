"""CKA with a Gaussian (RBF) kernel: similarity of neighbourhoods, at the scale of the median distance."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_layerscope.functional._cells import off_diagonal, over_cells, squared_distances
from lightning_layerscope.functional._checks import (
    check_estimator,
    check_features,
    check_pair,
    minimum_examples,
)
from lightning_layerscope.functional.cka import cka_from_grams
from lightning_layerscope.functional.gram import gram_of


@torch.no_grad()
def rbf_cka(x: Tensor, y: Tensor, estimator: str = "debiased", bandwidth: float = 1.0) -> Tensor:
    r"""Centred kernel alignment with Gaussian kernels.

    .. math:: K_{ij} = \exp\!\Big(-\frac{\|x_i - x_j\|^2}{2 \sigma^2}\Big), \quad \sigma = \mathrm{bandwidth} \cdot
              \operatorname{median}_{i<j} \|x_i - x_j\|, \qquad
              \mathrm{CKA} = \frac{\mathrm{HSIC}(K, L)}{\sqrt{\mathrm{HSIC}(K, K)\,\mathrm{HSIC}(L, L)}}

    Source: Kornblith et al. 2019, "Similarity of neural network representations revisited", section 3 (the bandwidth
    as a fraction of the median distance); the debiased HSIC is that of Song et al. 2012. A small bandwidth looks at
    near neighbours only, a large one approaches linear CKA.

    Args:
        x: ``(examples, width_x)`` or ``(layers, examples, width_x)``.
        y: The same examples and layers, ``(..., examples, width_y)``.
        estimator: ``"debiased"`` (about 0 for independent sides, may be slightly negative) or ``"biased"``.
        bandwidth: Kernel width in units of the median distance between examples, positive.

    Returns:
        ``()`` or ``(layers,)`` in float64; NaN where the median distance of a side is zero or a self-similarity is not
        positive.

    Raises:
        ValueError: Shapes that do not match, too few examples (debiased: 4, biased: 2), non-finite values, bad options.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [3.0], [7.0], [8.0]])
        >>> rbf_cka(x, -2 * x + 1).round(decimals=6)
        tensor(1., dtype=torch.float64)
    """
    check_estimator(estimator)
    check_pair(x, y, minimum=minimum_examples(estimator))
    return cka_from_grams(rbf_gram(x, bandwidth), rbf_gram(y, bandwidth), estimator=estimator)


@torch.no_grad()
def rbf_gram(x: Tensor, bandwidth: float = 1.0) -> Tensor:
    """Centred Gaussian-kernel Gram matrices, to be kept for a reference or handed to :func:`cka_estimate`.

    Args:
        x: ``(examples, width)`` or ``(layers, examples, width)``.
        bandwidth: Kernel width in units of the median distance between examples, positive.

    Returns:
        ``(..., examples, examples)`` in float64; NaN where the median distance is zero.

    Raises:
        ValueError: Fewer than two examples, non-finite values, or a bandwidth that is not positive.

    Example:
        >>> k = rbf_gram(torch.tensor([[0.0], [1.0], [3.0]]))
        >>> bool((k.sum(dim=-1).abs() < 1e-12).all())
        True
    """
    check_features(x, minimum=2)
    if not bandwidth > 0:
        raise ValueError(f"rbf_gram: expected a positive `bandwidth`, got {bandwidth}.")

    def cell(a: Tensor) -> Tensor:
        squared = squared_distances(gram_of(a))
        scale = bandwidth * _median(off_diagonal(squared).sqrt())
        kernel = torch.exp(-squared / (2 * scale.masked_fill(scale == 0, torch.nan) ** 2))
        kernel = kernel - kernel.mean(dim=0, keepdim=True)
        return kernel - kernel.mean(dim=1, keepdim=True)

    return over_cells(cell, x)


def _median(values: Tensor) -> Tensor:
    # torch.median takes the lower of the two middle values and torch.quantile refuses more than 2^24 of them.
    ordered = values.sort().values
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
