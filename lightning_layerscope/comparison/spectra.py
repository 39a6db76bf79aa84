"""Diagnostics beside a similarity: is it decided by a few dimensions or a few directions?"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_layerscope.functional.diagnostics import spectrum_diagnostics
from lightning_layerscope.references import ReferenceBank

SHARE_LIMIT = 0.2
"""A dimension or component with a larger share of the variance decides the similarity."""

RATIO_LIMIT = 4.0
"""With a participation ratio below this, hardly more than that many directions are compared."""

_WORDS = {
    "participation_ratio": (f"below {RATIO_LIMIT:g}", "hardly more than that many directions are compared"),
    "top_dimension_share": (f"above {SHARE_LIMIT:g}", "one dimension decides much of the similarity"),
    "top_component_share": (f"above {SHARE_LIMIT:g}", "one direction decides much of the similarity"),
}

Spectra = dict[str, Tensor]


def spectra(bank: ReferenceBank, task: str, layers: tuple[int, ...], gram: Tensor | None) -> Spectra:
    """Per diagnostic its values ``(layers,)`` for one task.

    Where only Grams are kept, the share of the top dimension is not known and is left out.
    """
    if bank.kind == "features":
        found = spectrum_diagnostics(bank.features(task)[list(layers)])
        return {name: getattr(found, name).detach().double().cpu() for name in _WORDS}
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
        beyond = {task: (cells < RATIO_LIMIT) if low else (cells > SHARE_LIMIT) for task, cells in values.items()}
        tasks = [task for task, flags in beyond.items() if bool(flags.any())]
        if not tasks:
            continue
        signed = {task: values[task].nan_to_num(torch.inf) if low else -values[task].nan_to_num(0.0) for task in tasks}
        worst = min(tasks, key=lambda task: float(signed[task].min()))
        position = int(signed[worst].argmin())
        where = [layer for place, layer in enumerate(layers) if any(bool(beyond[task][place]) for task in tasks)]
        lines.append(
            f"step {step}: {name} {limit} in {len(tasks)} of {len(values)} tasks at {len(where)} layers "
            f"({where[0]} to {where[-1]}); most in {worst!r} at layer {layers[position]} "
            f"({float(values[worst][position]):.3g}): {meaning}; read cka_robust beside the headline"
        )
    return lines
