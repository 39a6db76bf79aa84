"""Checks of what comes in: every message says what was expected, what came and what to do about it."""

from __future__ import annotations

import torch
from torch import Tensor


def check_estimator(estimator: str, of: str = "") -> None:
    """Raise ``ValueError`` unless ``estimator`` is one of the two there are; ``of`` names what it is for."""
    if estimator not in ("debiased", "biased"):
        raise ValueError(f"{of}{': ' if of else ''}expected `estimator` 'debiased' or 'biased', got {estimator!r}.")


def check_features(x: Tensor, name: str = "x", minimum: int = 4) -> None:
    """Raise unless ``x`` is a finite floating ``(..., examples, width)`` tensor with at least ``minimum`` examples."""
    check_form(x, name, minimum)
    check_finite(x, name)


def check_form(x: Tensor, name: str = "x", minimum: int = 4) -> None:
    """The part of :func:`check_features` that reads no value."""
    if not isinstance(x, Tensor):
        raise TypeError(f"`{name}` must be a torch.Tensor of shape (..., examples, width), got {type(x).__name__}.")
    if not x.is_floating_point():
        raise ValueError(f"`{name}` must have a floating dtype, got {x.dtype}; convert it, e.g. `{name}.float()`.")
    if x.ndim < 2:
        raise ValueError(f"`{name}` must have shape (..., examples, width), got {tuple(x.shape)}.")
    if x.shape[-2] < minimum:
        raise ValueError(
            f"`{name}` has {x.shape[-2]} examples (shape {tuple(x.shape)}, examples on axis -2), but at least "
            f"{minimum} are needed; use more examples."
        )
    if x.shape[-1] == 0:
        raise ValueError(f"`{name}` has no dimensions: shape {tuple(x.shape)}, expected (..., examples, width >= 1).")


def check_finite(x: Tensor, name: str = "x") -> None:
    """Raise ``ValueError`` that names the examples of ``x`` with NaN or infinite entries."""
    # A sum is the quickest look: NaN and infinity survive it. That it may overflow is for the second, exact look.
    if bool(torch.isfinite(x.sum(dtype=torch.float32 if x.dtype == torch.float16 else None))):
        return
    finite = torch.isfinite(x).all(dim=-1)
    if bool(finite.all()):
        return
    rows = torch.nonzero(~finite.reshape(-1, x.shape[-2]).all(dim=0)).flatten().tolist()
    shown = ", ".join(map(str, rows[:8])) + (f", ... ({len(rows)} in all)" if len(rows) > 8 else "")
    raise ValueError(
        f"`{name}` holds non-finite values (NaN or infinity) in rows {shown}; find out why, or drop those examples "
        "from both sides."
    )


def check_pair(x: Tensor, y: Tensor, minimum: int = 4, names: tuple[str, str] = ("x", "y")) -> None:
    """Check both sides, and that they hold the same examples and leading axes on one device; widths may differ."""
    check_form(x, names[0], minimum)
    check_form(y, names[1], minimum)
    left, right = names
    if x.shape[-2] != y.shape[-2]:
        raise ValueError(
            f"`{left}` and `{right}` must hold the same examples row by row, got {x.shape[-2]} and {y.shape[-2]} rows "
            f"(shapes {tuple(x.shape)} and {tuple(y.shape)})."
        )
    if x.shape[:-2] != y.shape[:-2]:
        raise ValueError(
            f"`{left}` and `{right}` must have the same leading (layer) axes, got shapes {tuple(x.shape)} and "
            f"{tuple(y.shape)}; for all pairs of layers use `cka_layer_matrix`."
        )
    check_device(x, y, names)
    check_finite(x, left)
    check_finite(y, right)


def check_device(x: Tensor, y: Tensor, names: tuple[str, str]) -> None:
    """Raise ``ValueError`` unless both tensors are on one device."""
    if x.device != y.device:
        raise ValueError(f"`{names[0]}` is on {x.device} and `{names[1]}` on {y.device}; move both to one device.")


def check_gram(k: Tensor, name: str = "k", minimum: int = 4) -> None:
    """Raise unless ``k`` has the form of (stacked) Gram matrices ``(..., examples, examples)`` in a floating dtype.

    Values are not looked at: a non-finite matrix is an undefined value, which has a reason, not an error.
    """
    if not isinstance(k, Tensor) or not k.is_floating_point():
        got = k.dtype if isinstance(k, Tensor) else type(k).__name__
        raise ValueError(
            f"`{name}` must be a floating tensor of centred Gram matrices (see `centered_gram`), got {got}."
        )
    if k.ndim < 2 or k.shape[-1] != k.shape[-2]:
        raise ValueError(
            f"`{name}` must hold square Gram matrices (..., examples, examples), got {tuple(k.shape)}; make them with "
            "`centered_gram`."
        )
    if k.shape[-1] < minimum:
        raise ValueError(f"`{name}` has {k.shape[-1]} examples, but at least {minimum} are needed; use more examples.")


def minimum_examples(estimator: str) -> int:
    """The fewest examples for which an estimator is defined (debiased divides by n - 3)."""
    return 4 if estimator == "debiased" else 2
