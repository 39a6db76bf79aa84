"""Minibatch CKA: an average over batches of unbiased terms, in the memory of one batch."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_layerscope.functional._checks import check_pair
from lightning_layerscope.functional._products import inner_products
from lightning_layerscope.functional.gram import gram_of
from lightning_layerscope.functional.gram_statistics import NOTHING, combine, self_terms


@torch.no_grad()
def minibatch_terms(x: Tensor, y: Tensor) -> Tensor:
    r"""Unbiased HSIC of one batch: of x with y, of x with itself, of y with itself.

    .. math:: \mathrm{HSIC}_1(K, L) = \frac{1}{m (m - 3)} \Big[\operatorname{tr}(K' L') +
              \frac{\mathbf 1^\top K' \mathbf 1 \, \mathbf 1^\top L' \mathbf 1}{(m - 1)(m - 2)} -
              \frac{2}{m - 2} \mathbf 1^\top K' L' \mathbf 1\Big]

    for m examples, with ``K'`` the kernel without its diagonal. Source: Song et al. 2012, equation 5.

    Args:
        x: ``(..., examples, width_x)`` one batch, at least 4 examples.
        y: The same examples, ``(..., examples, width_y)``.

    Returns:
        ``(..., 3)`` float64; add them up over batches (and processes) for :func:`cka_from_minibatch_terms`.

    Raises:
        ValueError: As :func:`~lightning_layerscope.functional.linear_cka`.

    Example:
        >>> minibatch_terms(torch.eye(5)[:, :2], torch.eye(5)[:, :2]).shape
        torch.Size([3])
    """
    check_pair(x, y)
    m = x.shape[-2]
    k, other = (gram_of(side).reshape(-1, m, m) for side in (x, y))
    own_x, margins_x = self_terms(k, "debiased")
    own_y, margins_y = self_terms(other, "debiased")
    cross = combine(inner_products(k, other), margins_x, margins_y, "debiased")
    # A self-term that is rounding counts as the zero that it is, so that the sum over batches can be told from zero.
    own_x = torch.where(own_x > NOTHING * margins_x.diagonal.square().sum(dim=-1), own_x, 0.0)
    own_y = torch.where(own_y > NOTHING * margins_y.diagonal.square().sum(dim=-1), own_y, 0.0)
    return (torch.stack([cross, own_x, own_y], dim=-1) / (m * (m - 3))).reshape(*x.shape[:-2], 3)


def cka_from_minibatch_terms(terms: Tensor) -> Tensor:
    """Minibatch CKA from summed (or averaged) :func:`minibatch_terms`.

    Args:
        terms: ``(..., 3)``.

    Returns:
        ``(...)`` float64; NaN where a summed self-term is not positive.

    Example:
        >>> cka_from_minibatch_terms(torch.tensor([1.0, 2.0, 2.0]))
        tensor(0.5000, dtype=torch.float64)
    """
    cross, own_x, own_y = terms.double().unbind(dim=-1)
    value = cross / (own_x.sqrt() * own_y.sqrt())
    return value.masked_fill(~((own_x > 0) & (own_y > 0)), torch.nan)


@torch.no_grad()
def minibatch_cka(x: Tensor, y: Tensor, batch_size: int = 256) -> Tensor:
    r"""Linear CKA from averages over batches of unbiased terms.

    .. math:: \mathrm{CKA} = \frac{\sum_b \mathrm{HSIC}_1(K_b, L_b)}
              {\sqrt{\sum_b \mathrm{HSIC}_1(K_b, K_b)} \sqrt{\sum_b \mathrm{HSIC}_1(L_b, L_b)}}

    Source: Nguyen, Raghu and Kornblith 2021, "Do wide and deep networks learn the same things?", equation 3. It
    estimates what the debiased CKA of all examples estimates, from fewer pairs: it depends on the batches by definition
    (their number and the order of the examples), and is noisier than :func:`streaming_cka`, whose memory grows with the
    squared width instead. The examples should be in random order.

    Args:
        x: ``(..., examples, width_x)``.
        y: The same examples, ``(..., examples, width_y)``.
        batch_size: Examples per batch, at least 4. A remainder of fewer than 4 examples joins the last batch.

    Returns:
        ``(...)`` float64; NaN where a summed self-term is not positive.

    Raises:
        ValueError: As :func:`~lightning_layerscope.functional.linear_cka`, or a batch size below 4.

    Example:
        >>> x = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
        >>> minibatch_cka(x, 3 * x, batch_size=8).round(decimals=6)
        tensor(1., dtype=torch.float64)
    """
    check_pair(x, y)
    if batch_size < 4:
        raise ValueError(f"`batch_size` must be at least 4 (the unbiased terms divide by m - 3), got {batch_size}.")
    n = x.shape[-2]
    starts = list(range(0, n, batch_size))
    if len(starts) > 1 and n - starts[-1] < 4:
        starts.pop()
    ends = [*starts[1:], n]
    # Every batch counts by its number of pairs; with equal batches that is the plain average.
    total = torch.zeros(*x.shape[:-2], 3, dtype=torch.float64, device=x.device)
    for i, j in zip(starts, ends, strict=True):
        total += minibatch_terms(x[..., i:j, :], y[..., i:j, :]) * ((j - i) * (j - i - 3))
    return cka_from_minibatch_terms(total)
