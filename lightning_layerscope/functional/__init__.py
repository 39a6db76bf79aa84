"""Similarity measures as pure functions on tensors; torch is all that this folder needs."""

from lightning_layerscope.functional.cka import (
    Estimate,
    GramStatistics,
    cka_estimate,
    cka_from_grams,
    cka_layer_matrix,
    cka_permutation_pvalue,
    linear_cka,
    prepare_gram,
    undefined_reasons,
)
from lightning_layerscope.functional.diagnostics import Diagnostics, spectrum_diagnostics
from lightning_layerscope.functional.gram import centered_gram, u_center
from lightning_layerscope.functional.robust import robust_gram, robust_transform

__all__ = [
    "Diagnostics",
    "Estimate",
    "GramStatistics",
    "centered_gram",
    "cka_estimate",
    "cka_from_grams",
    "cka_layer_matrix",
    "cka_permutation_pvalue",
    "linear_cka",
    "prepare_gram",
    "robust_gram",
    "robust_transform",
    "spectrum_diagnostics",
    "u_center",
    "undefined_reasons",
]
