"""Every measure as a :class:`torchmetrics.Metric`: accumulate over batches and ranks, compute once.

The classes that keep rows (all but :class:`StreamingCKA` and :class:`MinibatchCKA`) give the single-process value on
any number of processes, drop repeated examples by their ``ids``, and keep their states in float32 whatever dtype the
module around them is moved to. Their formulas are those of :mod:`lightning_layerscope.functional`.
"""

from lightning_layerscope.metrics.cka import LayerCKAMatrix, LayerwiseCKA, LinearCKA
from lightning_layerscope.metrics.dimensionality import ComponentsForVariance, EffectiveRank, ParticipationRatio
from lightning_layerscope.metrics.mutual_knn import MutualKNN
from lightning_layerscope.metrics.predictivity import LinearPredictivity
from lightning_layerscope.metrics.procrustes import ProcrustesDistance, ProcrustesSimilarity
from lightning_layerscope.metrics.rbf_cka import RBFCKA
from lightning_layerscope.metrics.rsa import RSA
from lightning_layerscope.metrics.separability import KNNPurity, ScatterRatio, Silhouette
from lightning_layerscope.metrics.streaming import MinibatchCKA, StreamingCKA
from lightning_layerscope.metrics.svcca import SVCCA
from lightning_layerscope.metrics.task_similarity import CovarianceOverlap, SpecialistCKA, TaskMeanCosine

__all__ = [
    "RBFCKA",
    "RSA",
    "SVCCA",
    "ComponentsForVariance",
    "CovarianceOverlap",
    "EffectiveRank",
    "KNNPurity",
    "LayerCKAMatrix",
    "LayerwiseCKA",
    "LinearCKA",
    "LinearPredictivity",
    "MinibatchCKA",
    "MutualKNN",
    "ParticipationRatio",
    "ProcrustesDistance",
    "ProcrustesSimilarity",
    "ScatterRatio",
    "Silhouette",
    "SpecialistCKA",
    "StreamingCKA",
    "TaskMeanCosine",
]
