"""Linear CKA from a stream of batches: exact, mergeable with a sum, in memory that does not grow with the examples."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from lightning_layerscope.functional._checks import check_device, check_estimator, check_features, minimum_examples
from lightning_layerscope.functional._products import exact_products, squared_lengths

#: Rows per float32 product: float32 adds up this many at most, float64 the rest.
ROWS = 2048
#: Share of the raw sum of squares below which the variance that is left after centring is rounding.
ROUNDING = 1e-10


@dataclass(frozen=True)
class StreamingSums:
    """Plain sums over examples of two shifted sides; all float64, all merged by adding.

    With ``x``, ``y`` the shifted examples and ``p = |x|^2``, ``q = |y|^2`` their squared lengths.

    Attributes:
        count: ``()`` number of examples.
        x: ``(width_x,)`` sum of x.
        y: ``(width_y,)`` sum of y.
        xx: ``(width_x, width_x)`` sum of x x^T.
        yy: ``(width_y, width_y)`` sum of y y^T.
        xy: ``(width_x, width_y)`` sum of x y^T.
        p: ``()`` sum of p; likewise ``q``, ``pp``, ``qq``, ``pq``.
        q: See ``p``.
        pp: See ``p``.
        qq: See ``p``.
        pq: See ``p``.
        px: ``(width_x,)`` sum of p x; likewise ``qx`` (width_x), ``py`` and ``qy`` (width_y).
        qx: See ``px``.
        py: See ``px``.
        qy: See ``px``.
    """

    count: Tensor
    x: Tensor
    y: Tensor
    xx: Tensor
    yy: Tensor
    xy: Tensor
    p: Tensor
    q: Tensor
    pp: Tensor
    qq: Tensor
    pq: Tensor
    px: Tensor
    qx: Tensor
    py: Tensor
    qy: Tensor

    @classmethod
    def zeros(cls, width_x: int, width_y: int, device: torch.device | str = "cpu") -> StreamingSums:
        """The sums of no example."""
        wide = dict.fromkeys(("x", "px", "qx"), (width_x,)) | dict.fromkeys(("y", "py", "qy"), (width_y,))
        square = {"xx": (width_x, width_x), "yy": (width_y, width_y), "xy": (width_x, width_y)}
        shapes: dict[str, tuple[int, ...]] = {**wide, **square}
        return cls(*(torch.zeros(shapes.get(n, ()), dtype=torch.float64, device=device) for n in cls.names()))

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the sums, in order; for whoever keeps them as separate states."""
        return tuple(field.name for field in fields(cls))

    @torch.no_grad()
    def update(self, x: Tensor, y: Tensor, shift_x: Tensor, shift_y: Tensor) -> StreamingSums:
        """Add a batch in place and return ``self``.

        Args:
            x: ``(examples, width_x)`` in any floating dtype; any number of examples, also none.
            y: ``(examples, width_y)``, the same examples.
            shift_x: ``(width_x,)`` subtracted from every example before anything is summed. The mean of the first
                batch is good; every batch and every process that is merged must use the same one (else see
                :func:`reshift`). Kept in float32 or float64.
            shift_y: ``(width_y,)``.

        Raises:
            ValueError: Wrong shapes, unequal rows, or non-finite values (the rows are named).
        """
        for side, shift, width, name in ((x, shift_x, self.x, "x"), (y, shift_y, self.y, "y")):
            check_features(side, name, minimum=0)
            if side.ndim != 2 or side.shape[1:] != width.shape or shift.shape != width.shape:
                raise ValueError(
                    f"`{name}` must have shape (examples, {width.shape[0]}) and its shift ({width.shape[0]},), got "
                    f"{tuple(side.shape)} and {tuple(shift.shape)}."
                )
            check_device(side, width, (name, "sums"))
        if x.shape[0] != y.shape[0]:
            raise ValueError(f"`x` and `y` must hold the same examples, got {x.shape[0]} and {y.shape[0]} rows.")
        with exact_products(x.device):
            for start in range(0, x.shape[0], ROWS):
                self._add(_shifted(x[start : start + ROWS], shift_x), _shifted(y[start : start + ROWS], shift_y))
        return self

    def _add(self, x: Tensor, y: Tensor) -> None:
        # In one dtype per side: float64 where the caller gave float64, float32 otherwise; sums are float64 always.
        common = torch.promote_types(x.dtype, y.dtype)
        p, q = squared_lengths(x), squared_lengths(y)
        self.count.add_(x.shape[0])
        self.x.add_(x.sum(dim=0))
        self.y.add_(y.sum(dim=0))
        self.xx.add_(x.mT @ x)
        self.yy.add_(y.mT @ y)
        self.xy.add_(x.mT.to(common) @ y.to(common))
        for total, weights, values in (("p", p, 1.0), ("q", q, 1.0), ("pp", p, p), ("qq", q, q), ("pq", p, q)):
            getattr(self, total).add_((weights * values).sum())
        for total, weights, side in (("px", p, x), ("qx", q, x), ("py", p, y), ("qy", q, y)):
            getattr(self, total).add_(weights @ side.double())

    @torch.no_grad()
    def merge(self, other: StreamingSums) -> StreamingSums:
        """Add the sums of other examples, made with the same shifts, in place and return ``self``."""
        for name in self.names():
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine.shape != theirs.shape:
                shapes = f"{tuple(mine.shape)} and {tuple(theirs.shape)}"
                raise ValueError(f"sums of different widths cannot be merged: `{name}` has shapes {shapes}.")
            mine.add_(theirs.to(mine.device))
        return self


@torch.no_grad()
def reshift(sums: StreamingSums, delta_x: Tensor, delta_y: Tensor) -> StreamingSums:
    """The sums that would have come out had the shifts been larger by ``delta_x`` and ``delta_y``.

    For merging sums with different shifts (two runs, or processes that did not agree on one). Exact up to float64
    rounding while the shifts differ by no more than a few thousand standard deviations.

    Args:
        sums: To start from; left as they are.
        delta_x: ``(width_x,)`` new shift minus old shift.
        delta_y: ``(width_y,)``.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> x, y = torch.randn(30, 4, generator=g), torch.randn(30, 3, generator=g)
        >>> zero = torch.zeros(4), torch.zeros(3)
        >>> one = torch.ones(4), torch.ones(3)
        >>> at_zero = StreamingSums.zeros(4, 3).update(x.double(), y.double(), *zero)
        >>> at_one = StreamingSums.zeros(4, 3).update(x.double(), y.double(), *one)
        >>> torch.allclose(reshift(at_zero, *one).pq, at_one.pq)
        True
    """
    s, n = sums, sums.count
    dx, dy = delta_x.double(), delta_y.double()
    c, e = dx @ dx, dy @ dy
    along_x, along_y = dx @ s.x, dy @ s.y  # sums of the projections on the deltas
    return StreamingSums(
        count=n.clone(),
        x=s.x - n * dx,
        y=s.y - n * dy,
        xx=_moved(s.xx, s.x, s.x, dx, dx, n),
        yy=_moved(s.yy, s.y, s.y, dy, dy, n),
        xy=_moved(s.xy, s.x, s.y, dx, dy, n),
        p=s.p - 2 * along_x + n * c,
        q=s.q - 2 * along_y + n * e,
        pp=s.pp - 4 * dx @ s.px + 2 * c * s.p + 4 * dx @ s.xx @ dx - 4 * c * along_x + n * c * c,
        qq=s.qq - 4 * dy @ s.qy + 2 * e * s.q + 4 * dy @ s.yy @ dy - 4 * e * along_y + n * e * e,
        pq=s.pq
        - 2 * (dy @ s.py + dx @ s.qx)
        + (e * s.p + c * s.q)
        + 4 * dx @ s.xy @ dy
        - 2 * (e * along_x + c * along_y)
        + n * c * e,
        px=s.px - dx * s.p - 2 * (s.xx @ dx) + 2 * dx * along_x + c * (s.x - n * dx),
        qx=s.qx - dx * s.q - 2 * (s.xy @ dy) + 2 * dx * along_y + e * (s.x - n * dx),
        py=s.py - dy * s.p - 2 * (dx @ s.xy) + 2 * dy * along_x + c * (s.y - n * dy),
        qy=s.qy - dy * s.q - 2 * (s.yy @ dy) + 2 * dy * along_y + e * (s.y - n * dy),
    )


@torch.no_grad()
def streaming_cka(sums: StreamingSums, estimator: str = "debiased") -> Tensor:
    r"""Linear CKA of all the examples that were summed: the value of :func:`linear_cka`, whatever the batches were.

    .. math:: \langle K, L \rangle = \|X_c^\top Y_c\|_F^2, \qquad a \cdot b = \sum_i |x_i - \bar x|^2 |y_i - \bar y|^2

    both follow from the sums by moving the shift to the mean; then as in :func:`linear_cka`. Unlike averages over
    batches this is exact for both estimators, and sums of several processes merge with one all-reduce.

    The state takes 8 bytes times ``width_x^2 + width_y^2 + width_x width_y`` (400 MB for two sides of width 4096), the
    last step as much again: it is meant for many more examples than dimensions.

    Args:
        sums: From :meth:`StreamingSums.update`.
        estimator: ``"debiased"`` or ``"biased"``.

    Returns:
        ``()`` float64. NaN where a side has no variance that the sums can tell from rounding (which needs a shift more
        than about 1e5 standard deviations away from the mean, or equal examples), or no positive self-similarity.

    Raises:
        ValueError: Fewer than 4 (debiased) or 2 (biased) examples.

    Example:
        >>> from lightning_layerscope.functional import linear_cka
        >>> g = torch.Generator().manual_seed(0)
        >>> x, y = torch.randn(100, 5, generator=g), torch.randn(100, 3, generator=g)
        >>> sums, shifts = StreamingSums.zeros(5, 3), (x[:30].mean(0), y[:30].mean(0))
        >>> for rows in (slice(0, 30), slice(30, 100)):
        ...     _ = sums.update(x[rows], y[rows], *shifts)
        >>> bool((streaming_cka(sums) - linear_cka(x, y)).abs() < 1e-6)
        True
    """
    check_estimator(estimator)
    n = float(sums.count)
    if n < minimum_examples(estimator):
        raise ValueError(f"at least {minimum_examples(estimator)} examples are needed, got {n:g}; add more batches.")
    c = reshift(sums, sums.x / sums.count, sums.y / sums.count)

    def term(product: Tensor, lengths: Tensor, left: Tensor, right: Tensor) -> Tensor:
        value: Tensor = torch.linalg.vecdot(product.flatten(), product.flatten())
        if estimator == "debiased":
            value = value - lengths * n / (n - 2) + left * right / ((n - 1) * (n - 2))
        return value

    cross, own_x, own_y = term(c.xy, c.pq, c.p, c.q), term(c.xx, c.pp, c.p, c.p), term(c.yy, c.qq, c.q, c.q)
    defined = (c.p > ROUNDING * sums.p) & (c.q > ROUNDING * sums.q) & (own_x > 1e-9 * c.pp) & (own_y > 1e-9 * c.qq)
    return (cross / (own_x.sqrt() * own_y.sqrt())).masked_fill(~defined, torch.nan)


def _shifted(x: Tensor, shift: Tensor) -> Tensor:
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return x.detach().to(dtype) - shift.to(device=x.device, dtype=dtype)


def _moved(product: Tensor, x: Tensor, y: Tensor, dx: Tensor, dy: Tensor, n: Tensor) -> Tensor:
    """Sum of (x - dx)(y - dy)^T from the sum of x y^T, without a third matrix."""
    return product.addr(x, dy, alpha=-1).addr_(dx, y - n * dy, alpha=-1)
