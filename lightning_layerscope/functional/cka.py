"""Linear centred kernel alignment (CKA): how alike two representations arrange the same examples."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_layerscope.functional._checks import (
    check_device,
    check_estimator,
    check_gram,
    check_pair,
    minimum_examples,
)
from lightning_layerscope.functional._products import exact_products, inner_products, squared_lengths, symmetric_norm
from lightning_layerscope.functional.gram import center, gram_of, product_dtype
from lightning_layerscope.functional.gram_statistics import (
    GramStatistics,
    Margins,
    combine,
    matrix,
    prepare_gram,
    self_terms,
    undefined,
)
from lightning_layerscope.functional.jackknife import Estimate, cka_estimate
from lightning_layerscope.functional.layer_matrix import cka_layer_matrix
from lightning_layerscope.functional.permutation import cka_permutation_pvalue

#: Below these shares (one example outweighs all others together) debiasing subtracts so nearly equal numbers that
#: float32 products are not enough, and the cell is computed again in float64. Gram matrices keep the digits longer.
CANCELLED_GRAM, CANCELLED_FEATURES = 1e-6, 1e-2


__all__ = [
    "Estimate",
    "GramStatistics",
    "cka_estimate",
    "cka_from_grams",
    "cka_layer_matrix",
    "cka_permutation_pvalue",
    "linear_cka",
    "prepare_gram",
    "undefined_reasons",
]


@torch.no_grad()
def linear_cka(x: Tensor, y: Tensor, estimator: str = "debiased") -> Tensor:
    r"""Linear CKA of two representations of the same examples.

    .. math:: \mathrm{CKA}(X, Y) = \frac{h(X, Y)}{\sqrt{h(X, X)\, h(Y, Y)}}

    for centred ``X``, ``Y`` with ``K = X X^T``, ``L = Y Y^T``, ``a = diag K``, ``b = diag L`` and

    .. math:: h_\text{biased} = \langle K, L \rangle = \|X^\top Y\|_F^2, \qquad
              h_\text{debiased} = \langle K, L \rangle - \frac{n}{n - 2}\, a \cdot b
                                  + \frac{(\sum a)(\sum b)}{(n - 1)(n - 2)}

    Sources: Kornblith et al. 2019, "Similarity of neural network representations revisited", equation 5 (biased); Song
    et al. 2012, "Feature selection via dependence maximization", equation 5, in the ratio of Murphy et al. 2024,
    "Correcting biased centered kernel alignment measures in biological and artificial neural networks" (debiased).

    The biased value is inflated when examples are fewer than dimensions (independent sides of width 4096 with 256
    examples: .94) and cannot be compared between tasks of different size. The debiased one is about 0 there, and may be
    slightly below 0; it is never clamped.

    Args:
        x: ``(examples, width_x)`` or ``(..., examples, width_x)`` in any floating dtype.
        y: The same examples (and leading axes), ``(..., examples, width_y)``.
        estimator: ``"debiased"`` or ``"biased"`` (the paper's).

    Returns:
        ``()`` or ``(...)`` float64. NaN where it is undefined; :func:`undefined_reasons` says why.

    Raises:
        ValueError: Unequal rows or leading axes, fewer than 4 examples, non-finite values (the rows are named), a
            non-floating dtype, different devices, or an unknown estimator.

    Cost: products of examples by examples when examples are fewer than about 1.25 widths, else of width by width.

    Example:
        >>> x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [0.0, 3.0], [5.0, 1.0]])
        >>> rotation = torch.tensor([[0.6, 0.8], [-0.8, 0.6]])
        >>> linear_cka(x, 7 * x @ rotation + 3).round(decimals=6)
        tensor(1., dtype=torch.float64)
        >>> linear_cka(x, x.square(), estimator="biased").round(decimals=3)
        tensor(0.9160, dtype=torch.float64)
    """
    check_estimator(estimator)
    check_pair(x, y)
    n, width_x, width_y = x.shape[-2], x.shape[-1], y.shape[-1]
    cells_x, cells_y = x.detach().reshape(-1, n, width_x), y.detach().reshape(-1, n, width_y)
    # Both ways cost a multiple of n; 1.2 puts the cross-over at n = 1.25 d, where it was measured.
    in_gram_space = 1.2 * n * (width_x + width_y) < width_x**2 + width_y**2 + width_x * width_y
    way = _in_gram_space if in_gram_space else _in_feature_space
    values = []
    for a, b in zip(cells_x, cells_y, strict=True):
        value, share = way(a, b, estimator)
        if estimator == "debiased" and share < (CANCELLED_GRAM if in_gram_space else CANCELLED_FEATURES):
            value, _ = way(a.double(), b.double(), estimator)
        values.append(value)
    return torch.stack(values).reshape(x.shape[:-2])


@torch.no_grad()
def cka_from_grams(k: Tensor | GramStatistics, l: Tensor | GramStatistics, estimator: str = "debiased") -> Tensor:  # noqa: E741
    """Linear CKA from centred Gram matrices; formula and sources as in :func:`linear_cka`.

    Args:
        k: ``(..., examples, examples)`` centred Gram matrices, or prepared ones (:func:`prepare_gram`), whose
            self-similarity is then not computed again.
        l: The other side, of the same shape.
        estimator: ``"debiased"`` or ``"biased"``.

    Returns:
        ``(...)`` float64; NaN where it is undefined.

    Raises:
        ValueError: Shapes that do not match, or fewer than 4 (debiased) or 2 (biased) examples.

    Example:
        >>> from lightning_layerscope.functional import centered_gram
        >>> x = torch.randn(3, 20, 6, generator=torch.Generator().manual_seed(0))
        >>> cka_from_grams(centered_gram(x), centered_gram(-x)).round(decimals=6)
        tensor([1., 1., 1.], dtype=torch.float64)
    """
    check_estimator(estimator)
    left, right = _matching(k, l, estimator)
    n = left.shape[-1]
    own_k, a = self_terms(k, estimator)
    own_l, b = (own_k, a) if l is k else self_terms(l, estimator)
    product = inner_products(left.reshape(-1, n, n), right.reshape(-1, n, n))
    return _ratio(combine(product, a, b, estimator), own_k, own_l, a, b).reshape(left.shape[:-2])


@torch.no_grad()
def undefined_reasons(
    k: Tensor | GramStatistics,
    l: Tensor | GramStatistics,  # noqa: E741
    estimator: str = "debiased",
) -> list[str]:
    """Why CKA is undefined, cell by cell, in words.

    Args:
        k: ``(..., examples, examples)`` centred Gram matrices, or prepared ones.
        l: The other side, of the same shape.
        estimator: ``"debiased"`` or ``"biased"``.

    Returns:
        One string per cell, leading axes flattened: ``""`` where the value is defined, else e.g.
        ``"zero variance in k"`` (all examples are equal) or ``"non-positive self-similarity in l"`` (all examples are
        equally far from one another up to rounding, or one example outweighs all others by more than rounding
        leaves, so that there is no pattern to compare).

    Raises:
        ValueError: Shapes that do not match, or too few examples.

    Example:
        >>> from lightning_layerscope.functional import centered_gram
        >>> undefined_reasons(centered_gram(torch.eye(6)), centered_gram(torch.ones(6, 2)))
        ['non-positive self-similarity in k; zero variance in l']
    """
    check_estimator(estimator)
    _matching(k, l, estimator)
    sides = [_side_reasons(side, name, estimator) for side, name in ((k, "k"), (l, "l"))]
    return ["; ".join(filter(None, pair)) for pair in zip(*sides, strict=True)]


def _side_reasons(side: Tensor | GramStatistics, name: str, estimator: str) -> list[str]:
    own, margins = self_terms(side, estimator)
    reasons = []
    for term, total, gone in zip(own, margins.diagonal.sum(dim=-1), undefined(own, margins.diagonal), strict=True):
        if not gone:
            reasons.append("")
        elif not torch.isfinite(term) or not torch.isfinite(total):
            reasons.append(f"non-finite Gram matrix of {name}")
        elif total <= 0:
            reasons.append(f"zero variance in {name}")
        else:
            reasons.append(f"non-positive self-similarity in {name}")  # up to rounding, see NOTHING
    return reasons


def _matching(k: Tensor | GramStatistics, l: Tensor | GramStatistics, estimator: str) -> tuple[Tensor, Tensor]:  # noqa: E741
    left, right = matrix(k).detach(), matrix(l).detach()
    check_gram(left, "k", minimum=minimum_examples(estimator))
    check_gram(right, "l", minimum=minimum_examples(estimator))
    if left.shape != right.shape:
        raise ValueError(
            "`k` and `l` must be Gram matrices of the same layers and examples, got shapes "
            f"{tuple(left.shape)} and {tuple(right.shape)}."
        )
    check_device(left, right, ("k", "l"))
    return left, right


def _ratio(cross: Tensor, own_x: Tensor, own_y: Tensor, a: Margins, b: Margins) -> Tensor:
    value = cross / (own_x.sqrt() * own_y.sqrt())
    return value.masked_fill(undefined(own_x, a.diagonal) | undefined(own_y, b.diagonal), torch.nan)


def _in_gram_space(x: Tensor, y: Tensor, estimator: str) -> tuple[Tensor, float]:
    """CKA of one cell from examples-by-examples products, and the smaller :func:`_share` of its sides."""
    k, other = gram_of(x).unsqueeze(0), gram_of(y).unsqueeze(0)
    (own_x, a), (own_y, b) = self_terms(k, estimator), self_terms(other, estimator)
    cross = combine(inner_products(k, other), a, b, estimator)
    return _ratio(cross, own_x, own_y, a, b)[0], min(_share(own_x, a), _share(own_y, b))


def _in_feature_space(x: Tensor, y: Tensor, estimator: str) -> tuple[Tensor, float]:
    """The same from width-by-width products: ``<K, L> = ||X^T Y||^2``."""
    dtype = torch.promote_types(product_dtype(x), product_dtype(y))
    x, y = center(x.to(dtype)), center(y.to(dtype))
    a, b = _margins_of_states(x), _margins_of_states(y)
    with exact_products(x.device):
        buffer = torch.empty(x.shape[1], y.shape[1], dtype=dtype, device=x.device)
        cross = inner_products(*2 * (torch.mm(x.mT, y, out=buffer).unsqueeze(0),))[0]
        square = buffer if x.shape[1] == y.shape[1] else None
        own_x, own_y = (
            symmetric_norm(side.mT, side.new_empty(side.shape[1], side.shape[1]) if square is None else square)
            for side in (x, y)
        )
    cross, own_x, own_y = (
        combine(product, left, right, estimator)
        for product, left, right in ((cross, a, b), (own_x, a, a), (own_y, b, b))
    )
    return _ratio(cross, own_x, own_y, a, b), min(_share(own_x, a), _share(own_y, b))


def _share(own: Tensor, margins: Margins) -> float:
    """What the debiasing leaves of a self-similarity, relative to the part of each example with itself."""
    return float(own) / max(float(margins.diagonal.square().sum()), torch.finfo(torch.float64).tiny)


def _margins_of_states(x: Tensor) -> Margins:
    lengths = squared_lengths(x)
    return Margins(lengths, -lengths)
