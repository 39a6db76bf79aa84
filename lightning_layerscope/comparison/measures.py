"""The measures that compare two sets of hidden states, by the name of their function, each with its interval."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_layerscope.functional._checks import check_estimator
from lightning_layerscope.functional.cka import cka_from_grams, undefined_reasons
from lightning_layerscope.functional.gram_statistics import GramStatistics, prepare_gram
from lightning_layerscope.functional.grouped_cka import JACKKNIFE_GROUPS
from lightning_layerscope.functional.jackknife import Estimate, cka_estimate
from lightning_layerscope.functional.mutual_knn import mutual_knn
from lightning_layerscope.functional.predictivity import linear_predictivity
from lightning_layerscope.functional.procrustes import procrustes_distance, procrustes_similarity
from lightning_layerscope.functional.rbf_cka import rbf_gram
from lightning_layerscope.functional.rsa import rsa
from lightning_layerscope.functional.svcca import svcca
from lightning_layerscope.functional.uncertainty import jackknife_estimate

FEATURE_MEASURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "linear_predictivity": linear_predictivity,
    "mutual_knn": mutual_knn,
    "procrustes_distance": procrustes_distance,
    "procrustes_similarity": procrustes_similarity,
    "rsa": rsa,
    "svcca": svcca,
}
"""Measures with a jackknife over groups of examples. None sees a rotation of the features, so Grams serve them too."""

GRAM_MEASURES = ("cka", "rbf_cka")
"""Measures with a closed-form jackknife and two estimators."""

MEASURES = (*GRAM_MEASURES, *FEATURE_MEASURES)

GROUPS = 20

JACKKNIFE_EXAMPLES = 5
"""The debiased jackknife leaves one of them out, and four must remain."""


class Method(NamedTuple):
    """How one task is measured.

    Attributes:
        measure: Among :data:`MEASURES`.
        estimator: Estimator of those measures that have two.
        confidence: Nominal coverage of the interval.
        groups: ``(examples,)``, numbered from 0, which examples are near copies of each other; None where each is on
            its own.
    """

    measure: str
    estimator: str
    confidence: float
    groups: Tensor | None = None

    @property
    def copies_only(self) -> bool:
        """Whether so few examples are none of each other's copies that there is nothing to say."""
        return self.groups is not None and int(self.groups.max()) + 1 < JACKKNIFE_GROUPS


class Cells(NamedTuple):
    """One task's values over layers: ``(layers,)`` each, and why a value is NaN (``""`` where it is not)."""

    value: Tensor
    low: Tensor
    high: Tensor
    reasons: list[str]


def check_measure(measure: str, estimator: str) -> None:
    """Raise ValueError for a measure or an estimator that does not exist."""
    if measure not in MEASURES:
        raise ValueError(f"expected a measure among {list(MEASURES)}, got {measure!r}")
    check_estimator(estimator)


def estimator_name(measure: str, estimator: str) -> str:
    """The estimator of measures that have two, else ``""``."""
    return estimator if measure.removesuffix("_robust") in GRAM_MEASURES else ""


def measure_cka(own: Tensor | GramStatistics, other: Tensor, method: Method) -> Cells:
    """CKA of centred Grams ``(layers, n, n)`` with its jackknife interval; four examples have no interval."""
    k, l = prepare_gram(own), prepare_gram(other)  # noqa: E741
    estimator, groups = method.estimator, method.groups
    if method.copies_only:
        return _copies_only(k.shape[0])
    if k.examples < JACKKNIFE_EXAMPLES:
        value = cka_from_grams(k, l, estimator)
        none = torch.full_like(value, torch.nan)
        estimate = Estimate(value, none, none, none)
    else:
        estimate = cka_estimate(k, l, estimator=estimator, confidence=method.confidence, groups=groups)
    reasons = [""] * k.shape[0]
    if torch.isnan(estimate.value).any():
        reasons = [_SIDES.sub(_name_side, reason) for reason in undefined_reasons(k, l, estimator)]
    return _cells(estimate, reasons)


def measure_features(x: Tensor, y: Tensor, method: Method) -> Cells:
    """Any measure but CKA of features ``(layers, n, width)``, or of anything with the same Gram."""
    if method.measure == "rbf_cka":
        return measure_cka(rbf_gram(x), rbf_gram(y), method)
    if method.copies_only:
        return _copies_only(len(x))
    # Near copies go into one of the groups that are left out in turn.
    groups = min(GROUPS, x.shape[-2]) if method.groups is None else method.groups % GROUPS
    measure = FEATURE_MEASURES[method.measure]
    estimate = jackknife_estimate(measure, x, y, confidence=method.confidence, groups=groups)
    return _cells(estimate, [""] * len(x))


def _copies_only(layers: int) -> Cells:
    none = torch.full((layers,), torch.nan, dtype=torch.float64)
    reason = f"prompts are near copies of fewer than {JACKKNIFE_GROUPS} prompts"
    return Cells(none, none, none, [reason] * layers)


def gram_root(k: Tensor) -> Tensor:
    """Features ``(layers, n, n)`` float64 whose Gram is ``k``: the states but for a rotation, which no measure sees."""
    values, vectors = torch.linalg.eigh(k.double())
    root: Tensor = vectors * values.clamp(min=0).sqrt().unsqueeze(-2)
    return root


_SIDES = re.compile(r"\b(in|of) ([kl])\b")


def _name_side(match: re.Match[str]) -> str:
    return f"{match[1]} the {'states' if match[2] == 'k' else 'reference'}"


def _cells(estimate: Estimate, reasons: list[str]) -> Cells:
    value, low, high = (part.detach().double().cpu() for part in (estimate.value, estimate.low, estimate.high))
    undefined = torch.isnan(value)
    named = [
        (reason or "undefined for these hidden states") if gone else ""
        for reason, gone in zip(reasons, undefined.tolist(), strict=True)
    ]
    return Cells(value, low, high, named)
