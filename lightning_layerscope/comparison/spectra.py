"""Diagnostics beside a similarity: is it decided by a few dimensions or a few directions?"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_layerscope.functional.diagnostics import (
    DIRECTIONS_LIMIT,
    ROUNDING_LIMIT,
    SHARE_LIMIT,
    component_counts,
    effective_directions,
    spectrum_diagnostics,
)
from lightning_layerscope.references import ReferenceBank
from lightning_layerscope.wording import count

_SHOWN = (
    "participation_ratio",
    "effective_directions",
    "top_dimension_share",
    "top_component_share",
    "components_99",
    "rounding_share",
)

_WORDS = {
    "effective_directions": (DIRECTIONS_LIMIT, "hardly more than that many directions decide the similarity"),
    "top_dimension_share": (SHARE_LIMIT, "one dimension decides much of the similarity"),
    "top_component_share": (SHARE_LIMIT, "one direction decides much of the similarity"),
    "rounding_share": (ROUNDING_LIMIT, "the stored numbers are too coarse for what they hold; extract in float32"),
}

ROBUST_LIMIT = 0.1
"""CKA that lies farther than this from its robust value is decided by few dimensions or examples."""

Spectra = dict[str, Tensor]


def spectra(bank: ReferenceBank, task: str, layers: tuple[int, ...], gram: Tensor | None) -> Spectra:
    """Per diagnostic its values ``(layers,)`` for one task.

    Where only Grams are kept, the shares of the top dimension and of rounding are not known and are left out.
    """
    if bank.kind == "features":
        states = bank.features(task)
        chosen = states if layers == tuple(range(len(states))) else states[list(layers)]
        diagnostics = spectrum_diagnostics(chosen, gram)
        held = {name: getattr(diagnostics, name).detach().double().cpu() for name in _SHOWN}
        # A share of no variance at all is not a number, not infinity.
        return {name: values.masked_fill(values.isinf(), torch.nan) for name, values in held.items()}
    k = (bank.gram(task)[list(layers)] if gram is None else gram).double()
    trace = k.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    share, components = component_counts(k, trace)
    return {
        "participation_ratio": (trace.square() / k.square().sum(dim=(-2, -1))).cpu(),
        "effective_directions": effective_directions(k).cpu(),
        "top_component_share": share.cpu(),
        "components_99": components.cpu(),
    }


def warn_in_words(
    by_task: Mapping[str, Spectra],
    layers: tuple[int, ...],
    step: int,
    robust: Mapping[str, tuple[Tensor, Tensor]] | None = None,
) -> list[str]:
    """One sentence per diagnostic that is beyond its limit anywhere, with CKA and its robust value at the worst place.

    Args:
        by_task: Per task the values of :func:`spectra`.
        layers: Their numbers.
        step: Step of the measurement, named in the sentence.
        robust: Per task CKA and its robust value, ``(layers,)`` each, where there are such.
    """
    held = {name: {task: each[name] for task, each in by_task.items() if name in each} for name in _WORDS}
    lines = [
        _line(values, layers, step, name, limit, meaning, None if name == "rounding_share" else robust)
        for name, (limit, meaning) in _WORDS.items()
        if (values := held[name])
    ]
    if robust:
        apart = {task: (plain - other).abs() for task, (plain, other) in robust.items()}
        name, meaning = "distance of cka from cka_robust", "few dimensions or examples decide the similarity"
        lines.append(_line(apart, layers, step, name, ROBUST_LIMIT, meaning, robust))
    return [line for line in lines if line]


def _line(
    values: Mapping[str, Tensor],
    layers: tuple[int, ...],
    step: int,
    name: str,
    limit: float,
    meaning: str,
    robust: Mapping[str, tuple[Tensor, Tensor]] | None,
) -> str:
    low = name == "effective_directions"
    beyond = {task: (cells < limit) if low else (cells > limit) for task, cells in values.items()}
    tasks = [task for task, flags in beyond.items() if bool(flags.any())]
    if not tasks:
        return ""
    signed = {task: values[task].nan_to_num(torch.inf) if low else -values[task].nan_to_num(0.0) for task in tasks}
    worst = min(tasks, key=lambda task: float(signed[task].min()))
    position = int(signed[worst].argmin())
    where = [layer for layer, *flags in zip(layers, *(beyond[task] for task in tasks), strict=True) if any(flags)]
    beside = ""
    if robust and worst in robust:
        plain, other = (float(side[position]) for side in robust[worst])
        beside = f" (there cka {plain:.3f}, cka_robust {other:.3f})"
    return (
        f"step {step}: {name} {'below' if low else 'above'} {limit:g} in {len(tasks)} of "
        f"{count(len(values), 'task')} at {count(len(where), 'layer')} ({where[0]} to {where[-1]}); most in {worst!r} "
        f"at layer {layers[position]} ({float(values[worst][position]):.3g}): {meaning}{beside}"
    )
