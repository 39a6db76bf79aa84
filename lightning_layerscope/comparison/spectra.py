"""Diagnostics beside a similarity: is it decided by a few dimensions or a few directions?"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_layerscope.functional.diagnostics import RATIO_LIMIT, ROUNDING_LIMIT, SHARE_LIMIT, spectrum_diagnostics
from lightning_layerscope.references import ReferenceBank

_WORDS = {
    "participation_ratio": (
        RATIO_LIMIT,
        "hardly more than that many directions are compared; read cka_robust beside it",
    ),
    "top_dimension_share": (SHARE_LIMIT, "one dimension decides much of the similarity; read cka_robust beside it"),
    "top_component_share": (SHARE_LIMIT, "one direction decides much of the similarity; read cka_robust beside it"),
    "rounding_share": (ROUNDING_LIMIT, "the stored numbers are too coarse for what they hold; extract in float32"),
}

Spectra = dict[str, Tensor]


def spectra(bank: ReferenceBank, task: str, layers: tuple[int, ...], gram: Tensor | None) -> Spectra:
    """Per diagnostic its values ``(layers,)`` for one task.

    Where only Grams are kept, the shares of the top dimension and of rounding are not known and are left out.
    """
    if bank.kind == "features":
        states = bank.features(task)
        found = spectrum_diagnostics(states if layers == tuple(range(len(states))) else states[list(layers)], gram)
        held = {name: getattr(found, name).detach().double().cpu() for name in _WORDS}
        # A share of no variance at all is not a number, not infinity.
        return {name: values.masked_fill(values.isinf(), torch.nan) for name, values in held.items()}
    k = (bank.gram(task)[list(layers)] if gram is None else gram).double()
    trace = k.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    top = torch.linalg.eigvalsh(k)[:, -1]
    return {
        "participation_ratio": (trace.square() / k.square().sum(dim=(-2, -1))).cpu(),
        "top_component_share": (top / trace).cpu(),
    }


def warn_in_words(found: Mapping[str, Spectra], layers: tuple[int, ...], step: int) -> list[str]:
    """One sentence per diagnostic that is beyond its limit anywhere.

    Args:
        found: per task the values of :func:`spectra`.
        layers: their numbers.
        step: of the measurement, named in the sentence.
    """
    lines: list[str] = []
    for name, (limit, meaning) in _WORDS.items():
        values = {task: held[name] for task, held in found.items() if name in held}
        low = name == "participation_ratio"
        beyond = {task: (cells < limit) if low else (cells > limit) for task, cells in values.items()}
        tasks = [task for task, flags in beyond.items() if bool(flags.any())]
        if not tasks:
            continue
        signed = {task: values[task].nan_to_num(torch.inf) if low else -values[task].nan_to_num(0.0) for task in tasks}
        worst = min(tasks, key=lambda task: float(signed[task].min()))
        position = int(signed[worst].argmin())
        where = [layer for place, layer in enumerate(layers) if any(bool(beyond[task][place]) for task in tasks)]
        lines.append(
            f"step {step}: {name} {'below' if low else 'above'} {limit:g} in {len(tasks)} of {len(values)} tasks at "
            f"{len(where)} layers ({where[0]} to {where[-1]}); most in {worst!r} at layer {layers[position]} "
            f"({float(values[worst][position]):.3g}): {meaning}"
        )
    return lines
