"""The profile of one model against a task's references: CKA, and other measures where a plan asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from lightning_layerscope.comparison import compare
from lightning_layerscope.profiles import LayerProfile, ProfileMeta
from lightning_layerscope.references import ReferenceBank
from lightning_layerscope.study.stages.similarity import Similarity, jackknife_half


@dataclass(frozen=True)
class ProfileOptions:
    """How profiles are made.

    Attributes:
        estimator: Estimator of CKA.
        confidence: Nominal coverage of the intervals.
        extra: Measures besides CKA.
    """

    estimator: str
    confidence: float
    extra: tuple[str, ...] = ()


def task_profile(
    similarity: Similarity,
    bank: ReferenceBank,
    references: Sequence[ReferenceBank],
    reference: str,
    options: ProfileOptions,
) -> LayerProfile:
    """The profile of one task.

    Args:
        similarity: CKA, as it was found.
        bank: States of the model.
        references: What it was compared with; the mean over these is shown.
        reference: What these are, in words.
        options: How it is made.
    """
    n = similarity.replicates.shape[-1]
    half = jackknife_half(similarity.replicates, options.confidence)
    half = half.masked_fill(torch.isnan(similarity.values), torch.nan)
    (task,) = bank
    frames = [
        pd.DataFrame(
            {
                "step": 0,
                "layer": list(bank.layers),
                "task": task,
                "cluster": bank.clusters[task],
                "measure": "cka",
                "estimator": options.estimator,
                "value": similarity.values.numpy(),
                "low": (similarity.values - half).numpy(),
                "high": (similarity.values + half).numpy(),
                "reason": similarity.reasons,
            }
        )
    ]
    frames += [_mean_over(bank, references, measure, options) for measure in options.extra]
    meta = ProfileMeta(
        layers=tuple(bank.layers),
        num_layers=bank.num_layers,
        tasks=(task,),
        clusters=bank.clusters,
        examples={task: n},
        examples_digest=bank.examples_digest,
        tokens_digest=bank.tokens_digest,
        reference=reference,
        reference_digest=references[0].digest if len(references) == 1 else "",
        measure="cka",
        estimator=options.estimator,
        model_name=bank.model_name,
        confidence=options.confidence,
    )
    return LayerProfile(pd.concat(frames, ignore_index=True), meta)


def _mean_over(
    bank: ReferenceBank, references: Sequence[ReferenceBank], measure: str, options: ProfileOptions
) -> pd.DataFrame:
    """Another measure, mean over the references; its interval is the widest of theirs."""
    frames = [
        compare(
            bank,
            each,
            measure=measure,
            estimator=options.estimator,
            confidence=options.confidence,
            robust=False,
            diagnostics=False,
        ).to_pandas()
        for each in references
    ]
    first = frames[0]
    if len(frames) > 1:
        half = np.max([(frame["high"] - frame["low"]).to_numpy() / 2 for frame in frames], axis=0)
        first["value"] = np.mean([frame["value"].to_numpy() for frame in frames], axis=0)
        first["low"], first["high"] = first["value"] - half, first["value"] + half
        first["reason"] = [
            next((r for r in rows if r), "") for rows in zip(*(f["reason"] for f in frames), strict=True)
        ]
    return first
