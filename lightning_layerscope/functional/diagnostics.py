"""Can a similarity of these states be trusted? Shares of the variance, and warnings in words."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_layerscope.functional._checks import check_features
from lightning_layerscope.functional._products import inner_products, squared_lengths
from lightning_layerscope.functional.gram import center, gram_of, product_dtype
from lightning_layerscope.functional.svcca import components_needed

#: One dimension or component with more than this share of the variance decides most of a CKA value.
SHARE_LIMIT = 0.2
#: So does a spectrum whose squares, which CKA weighs directions by, have fewer effective directions than this.
DIRECTIONS_LIMIT = 4.0
#: Rounding above this share of the variance moves CKA by more than about 1e-3.
ROUNDING_LIMIT = 1e-3
#: Up to this many examples all eigenvalues cost less than power iteration for one; counts take no more.
DIRECT = 512
#: Share of the variance that components are counted for.
COMPONENT_VARIANCE = 0.99
#: Mean square of one unit in the last place, relative to the squared value and machine epsilon, over a mantissa that is
#: log-uniform (0.54), divided by 12 for the variance of rounding within it.
ROUNDING_VARIANCE = 0.54 / 12


@dataclass(frozen=True)
class Diagnostics:
    """Shape of the variance of hidden states, per leading (layer) index.

    Attributes:
        participation_ratio: ``(...)`` float64, effective number of directions, ``tr(S)^2 / tr(S^2)``.
        effective_directions: ``(...)`` float64, the same of the squared spectrum, ``tr(S^2)^2 / tr(S^4)``.
        top_dimension_share: ``(...)`` float64, share of the variance in the largest single dimension.
        top_component_share: ``(...)`` float64, share of the variance in the largest principal component.
        components_99: ``(...)`` float64, fewest principal components that hold 99 % of the variance.
        rounding_share: ``(...)`` float64, estimated share of the variance that is rounding of the stored numbers.
        warnings: One list of sentences per layer (leading axes flattened; one list for a single cell); empty when there
            is nothing to warn of.
    """

    participation_ratio: Tensor
    effective_directions: Tensor
    top_dimension_share: Tensor
    top_component_share: Tensor
    components_99: Tensor
    rounding_share: Tensor
    warnings: list[list[str]]


@torch.no_grad()
def spectrum_diagnostics(x: Tensor, gram: Tensor | None = None) -> Diagnostics:
    r"""Say where CKA of these states would mean little, and why.

    .. math:: \mathrm{PR} = \frac{(\operatorname{tr} S)^2}{\operatorname{tr} S^2}, \qquad
              \frac{(\operatorname{tr} S^2)^2}{\operatorname{tr} S^4}, \qquad
              \frac{\max_j S_{jj}}{\operatorname{tr} S}, \qquad \frac{\lambda_1(S)}{\operatorname{tr} S}

    with ``S`` the covariance of the states. CKA weighs directions by their squared variance, so that one direction with
    a tenth of the variance of an otherwise flat spectrum decides it; the second term falls to 2 there, while PR and the
    shares stay unremarkable. It and the count of components are taken from at most 512 examples. A warning is given
    when a share is above 0.2, when the second term is below 4, and when the states were rounded so coarsely (bfloat16
    or float16 under a large mean) that the rounding is more than 0.1 % of the variance. float32 states that hold
    nothing but bfloat16 (or float16) numbers are recognised as such.

    Args:
        x: ``(..., examples, width)`` hidden states in the dtype that they were stored in.
        gram: Their centred Gram matrices, when they are at hand (saves the product).

    Returns:
        The shares, each ``(...)``, and the warnings. Shares are NaN where there is no variance.

    Raises:
        ValueError: Fewer than 4 examples, a non-floating dtype, non-finite values, or a ``gram`` of another shape.

    Example:
        >>> x = torch.randn(64, 100, generator=torch.Generator().manual_seed(0))
        >>> x[:, 7] *= 1000
        >>> diagnostics = spectrum_diagnostics(x)
        >>> diagnostics.warnings[0][0]
        'one dimension (7) holds 100 % of the variance'
    """
    check_features(x)
    n, width = x.shape[-2:]
    if gram is not None and gram.shape != (*x.shape[:-1], n):
        raise ValueError(f"`gram` must have shape {(*x.shape[:-1], n)} for these states, got {tuple(gram.shape)}.")
    cells = x.detach().reshape(-1, n, width)
    grams = (gram_of(cells) if gram is None else gram).reshape(-1, n, n)
    trace = grams.diagonal(dim1=-2, dim2=-1).sum(dim=-1, dtype=torch.float64)
    ratio = trace.square() / inner_products(grams, grams)
    directions = effective_directions(grams)
    component, components = component_counts(grams, trace)
    dimensions = [_dimension_shares(cell) for cell in cells]
    top, index, rounding = (torch.stack(values) for values in zip(*dimensions, strict=True))
    warnings = [
        _warnings(*values)
        for values in zip(
            directions.tolist(),
            top.tolist(),
            index.tolist(),
            component.tolist(),
            rounding.tolist(),
            trace.tolist(),
            strict=True,
        )
    ]
    shape = x.shape[:-2]
    return Diagnostics(
        ratio.reshape(shape),
        directions.reshape(shape),
        top.reshape(shape),
        component.reshape(shape),
        components.reshape(shape),
        rounding.reshape(shape),
        warnings,
    )


def effective_directions(grams: Tensor) -> Tensor:
    """``tr(S^2)^2 / tr(S^4)`` of centred Grams ``(layers, n, n)``, of their first 512 examples; ``(layers,)``."""
    values = []
    for k in grams:
        part = _first(k.double())
        squared = part @ part
        values.append(squared.diagonal().sum().square() / squared.square().sum())
    return torch.stack(values)


def component_counts(grams: Tensor, trace: Tensor) -> tuple[Tensor, Tensor]:
    """Share of the largest principal component, and how many hold 99 % of the variance, of centred Grams.

    Args:
        grams: ``(layers, n, n)``.
        trace: Of each, float64.

    Returns:
        Both ``(layers,)`` float64; NaN without variance. The count is that of the first 512 examples.
    """
    shares, counts = [], []
    for k, total in zip(grams, trace, strict=True):
        values = torch.linalg.eigvalsh(_first(k.double())).flip(0).clamp_min_(0)
        largest = values[0] if k.shape[0] <= DIRECT else _largest_eigenvalue(k.double())
        shares.append(largest / total)
        counts.append(float(components_needed(values, COMPONENT_VARIANCE)) if total > 0 else torch.nan)
    return torch.stack(shares), torch.tensor(counts, dtype=torch.float64, device=grams.device)


def _first(k: Tensor) -> Tensor:
    """A centred Gram of at most the first 512 examples."""
    if k.shape[0] <= DIRECT:
        return k
    part = k[:DIRECT, :DIRECT]
    return part - part.mean(dim=0) - part.mean(dim=1, keepdim=True) + part.mean()


def _dimension_shares(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Share and index of the largest dimension, and the share of rounding, of one cell."""
    variances = center(x).square_().sum(dim=0).double()
    total = variances.sum()
    top, index = variances.max(dim=0)
    epsilon = torch.finfo(_stored_dtype(x)).eps
    raw = squared_lengths(x.to(product_dtype(x))).sum()
    return top / total, index, ROUNDING_VARIANCE * epsilon**2 * raw / total


def _stored_dtype(x: Tensor) -> torch.dtype:
    """The coarsest dtype that holds these numbers exactly: a cast to float32 does not bring lost digits back."""
    sample = x[:: max(1, x.shape[0] // 4)]
    for dtype in (torch.bfloat16, torch.float16):
        if bool((sample.to(dtype).to(x.dtype) == sample).all()):
            return dtype
    return x.dtype


def _largest_eigenvalue(k: Tensor, steps: int = 64, tolerance: float = 1e-4) -> Tensor:
    """By power iteration; its quotient is right where leading values are equal."""
    vector = k[:, k.diagonal().argmax()]
    value = torch.zeros((), dtype=torch.float64, device=k.device)
    for _ in range(steps):
        length = torch.linalg.vector_norm(vector)
        if not bool(length > 0):
            break
        vector = vector / length
        image = k @ vector
        value, before = torch.dot(vector, image), value
        if bool((value - before).abs() <= tolerance * value):
            break
        vector = image
    return value


def _warnings(directions: float, top: float, index: int, component: float, rounding: float, trace: float) -> list[str]:
    if not trace > 0:
        return ["all examples are equal: similarity is undefined"]
    warnings = []
    if top > SHARE_LIMIT:
        warnings.append(f"one dimension ({index}) holds {top:.0%} of the variance".replace("%", " %"))
    if component > SHARE_LIMIT:
        warnings.append(f"one principal component holds {component:.0%} of the variance".replace("%", " %"))
    if directions < DIRECTIONS_LIMIT:
        warnings.append(
            f"{directions:.1f} effective directions decide CKA (participation ratio of the squared spectrum)"
        )
    if rounding > ROUNDING_LIMIT:
        warnings.append(
            f"about {rounding:.1%} of the variance is rounding of the stored numbers: extract in float32".replace(
                "%", " %"
            )
        )
    return warnings
