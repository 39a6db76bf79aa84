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
from lightning_layerscope.functional.dimensionality import components_for_variance, effective_rank, participation_ratio
from lightning_layerscope.functional.gram import centered_gram, u_center
from lightning_layerscope.functional.minibatch import cka_from_minibatch_terms, minibatch_cka, minibatch_terms
from lightning_layerscope.functional.mutual_knn import mutual_knn
from lightning_layerscope.functional.predictivity import linear_predictivity
from lightning_layerscope.functional.procrustes import procrustes_distance, procrustes_similarity
from lightning_layerscope.functional.rbf_cka import rbf_cka, rbf_gram
from lightning_layerscope.functional.robust import robust_gram, robust_transform
from lightning_layerscope.functional.rsa import rsa
from lightning_layerscope.functional.separability import knn_purity, scatter_ratio, silhouette
from lightning_layerscope.functional.streaming import StreamingSums, reshift, streaming_cka
from lightning_layerscope.functional.svcca import svcca
from lightning_layerscope.functional.task_similarity import covariance_overlap, specialist_cka, task_mean_cosine
from lightning_layerscope.functional.uncertainty import jackknife_estimate, permutation_pvalue

__all__ = [
    "Diagnostics",
    "Estimate",
    "GramStatistics",
    "StreamingSums",
    "centered_gram",
    "cka_estimate",
    "cka_from_grams",
    "cka_from_minibatch_terms",
    "cka_layer_matrix",
    "cka_permutation_pvalue",
    "components_for_variance",
    "covariance_overlap",
    "effective_rank",
    "jackknife_estimate",
    "knn_purity",
    "linear_cka",
    "linear_predictivity",
    "minibatch_cka",
    "minibatch_terms",
    "mutual_knn",
    "participation_ratio",
    "permutation_pvalue",
    "prepare_gram",
    "procrustes_distance",
    "procrustes_similarity",
    "rbf_cka",
    "rbf_gram",
    "reshift",
    "robust_gram",
    "robust_transform",
    "rsa",
    "scatter_ratio",
    "silhouette",
    "specialist_cka",
    "spectrum_diagnostics",
    "streaming_cka",
    "svcca",
    "task_mean_cosine",
    "u_center",
    "undefined_reasons",
]
