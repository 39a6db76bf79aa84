"""Layers whose weight matrices hold more signal than noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lightning_layerscope.advice.selection import Selection, top_layers


@torch.no_grad()
def signal_to_noise(weight: Tensor) -> float:
    r"""Singular values above the edge of noise, over those below, over the largest.

    .. math:: \frac{1}{\sigma_1} \frac{\sum_{\sigma_i > \epsilon} \sigma_i}{\sum_{\sigma_i \le \epsilon} \sigma_i},
              \qquad \epsilon = \hat\sigma \, (1 + \sqrt{\min(n, m) / \max(n, m)}), \qquad
              \hat\sigma = \mathrm{IQR}(\sigma_1 \dots) / 1.349

    Source: Hartford et al. 2024, "Spectrum: targeted training on signal to noise ratio" (arXiv 2406.06623), equations 1
    to 4, with the Marchenko-Pastur edge as the authors' program scales it.

    Args:
        weight: ``(outputs, inputs)``; convolutions as ``(outputs, rest)``.

    Returns:
        The ratio; infinite where nothing is below the edge.

    Raises:
        ValueError: For anything but a floating matrix.

    Example:
        >>> weight = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
        >>> signal = 40 * torch.outer(torch.ones(64), torch.ones(64)) / 64
        >>> signal_to_noise(weight) < 1, signal_to_noise(torch.eye(4))
        (True, inf)
    """
    if weight.ndim != 2 or not weight.is_floating_point():
        raise ValueError(f"signal_to_noise: expected a floating matrix, got {weight.dtype} {tuple(weight.shape)}.")
    values = torch.linalg.svdvals(weight.detach().float()).double()
    quarter, three = torch.quantile(values, torch.tensor([0.25, 0.75], dtype=torch.float64, device=values.device))
    edge = (three - quarter) / 1.349 * (1 + math.sqrt(min(weight.shape) / max(weight.shape)))
    noise = values[values <= edge].sum()
    if noise == 0:
        return math.inf
    return float(values[values > edge].sum() / noise / values[0])


def strongest_signal(ratios: Mapping[str, Sequence[float]], count: int) -> Selection:
    """The layers whose matrices rank highest by signal to noise, each kind of matrix ranked apart.

    Spectrum takes the top share of every kind of matrix; a layer's score is the mean rank of its matrices, from 0 (last
    in every kind) to 1 (first in every kind).

    Args:
        ratios: Kind of matrix (``"q_proj"``) to its ratio in layers 1..L; NaN where a layer has none of that kind.
        count: How many layers.

    Raises:
        ValueError: For no kinds, or unequal numbers of layers.

    Example:
        >>> strongest_signal({"q": [1.0, 3.0, 2.0], "v": [1.0, 2.0, 3.0]}, 2).scores
        (0.0, 0.75, 0.75)
    """
    lengths = {len(values) for values in ratios.values()}
    if len(lengths) != 1:
        raise ValueError(f"strongest_signal: expected ratios of the same layers for each kind, got lengths {lengths}.")
    shares = [_rank_shares(values) for values in ratios.values()]
    columns = [[share for share in column if not math.isnan(share)] for column in zip(*shares, strict=True)]
    scores = tuple(sum(column) / len(column) if column else math.nan for column in columns)
    return Selection("spectrum", top_layers(scores, count), scores)


def _rank_shares(values: Sequence[float]) -> list[float]:
    known = [value for value in values if not math.isnan(value)]
    if len(known) == 1:
        return [math.nan if math.isnan(value) else 1.0 for value in values]
    return [
        math.nan if math.isnan(value) else sum(other < value for other in known) / (len(known) - 1) for value in values
    ]
