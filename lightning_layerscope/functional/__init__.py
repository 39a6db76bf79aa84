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
from lightning_layerscope.functional.divergence import TopWords, next_token_kl, top_words, top_words_kl
from lightning_layerscope.functional.gradient_conflict import Conflict, gradient_conflict
from lightning_layerscope.functional.gradient_sketch import sketch_gradient
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
from lightning_layerscope.functional.task_similarity import (
    covariance_overlap,
    mean_noise,
    specialist_cka,
    task_mean_cosine,
)
from lightning_layerscope.functional.uncertainty import jackknife_estimate, permutation_pvalue
from lightning_layerscope.functional.update import (
    LowRank,
    drift_per_update,
    relative_low_rank_update,
    relative_update,
)

__all__ = [
    "Conflict",
    "Diagnostics",
    "Estimate",
    "GramStatistics",
    "LowRank",
    "StreamingSums",
    "TopWords",
    "centered_gram",
    "cka_estimate",
    "cka_from_grams",
    "cka_from_minibatch_terms",
    "cka_layer_matrix",
    "cka_permutation_pvalue",
    "components_for_variance",
    "covariance_overlap",
    "drift_per_update",
    "effective_rank",
    "gradient_conflict",
    "jackknife_estimate",
    "knn_purity",
    "linear_cka",
    "linear_predictivity",
    "mean_noise",
    "minibatch_cka",
    "minibatch_terms",
    "mutual_knn",
    "next_token_kl",
    "participation_ratio",
    "permutation_pvalue",
    "prepare_gram",
    "procrustes_distance",
    "procrustes_similarity",
    "rbf_cka",
    "rbf_gram",
    "relative_low_rank_update",
    "relative_update",
    "reshift",
    "robust_gram",
    "robust_transform",
    "rsa",
    "scatter_ratio",
    "silhouette",
    "sketch_gradient",
    "specialist_cka",
    "spectrum_diagnostics",
    "streaming_cka",
    "svcca",
    "task_mean_cosine",
    "top_words",
    "top_words_kl",
    "u_center",
    "undefined_reasons",
]
