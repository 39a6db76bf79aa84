"""Stage ``compare:<task>``: base and tuned model against the task's controls, and the controls with each other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lightning_layerscope.comparison import compare
from lightning_layerscope.comparison.alignment import align
from lightning_layerscope.functional.cka import undefined_reasons
from lightning_layerscope.functional.jackknife import cka_replicates
from lightning_layerscope.profiles import LayerProfile
from lightning_layerscope.references import ReferenceBank
from lightning_layerscope.study.gains import Mean, mean_over_layers, verdict
from lightning_layerscope.study.losses import improvement
from lightning_layerscope.study.stage_states import BANK
from lightning_layerscope.study.stage_states import FACTS as MEASURED
from lightning_layerscope.study.store import Stage, Store

FACTS = "compared.json"


@dataclass(frozen=True)
class Similarity:
    """One model against a task's controls: mean over their seeds.

    Attributes:
        values: CKA per layer, (layers,).
        replicates: The same without each example, (layers, examples).
        reasons: Why a value is NaN, per layer.
    """

    values: Tensor
    replicates: Tensor
    reasons: list[str]


def compare_task(stage: Stage, store: Store, folder: Path) -> None:
    """Compare all models of one task.

    Args:
        stage: ``compare:<task>``; its states are measured.
        store: Of the study.
        folder: Gets ``base.parquet`` and ``multitask.parquet`` (against the control), ``drift.parquet`` (tuned against
            base) and ``compared.json``.

    Raises:
        ValueError: If the states are not of the same prompts.
    """
    task = stage.name.partition(":")[2]
    estimator, confidence = str(stage.settings["estimator"]), float(stage.settings["confidence"])
    roles = {need.name.split(":", 2)[1]: store.folder(need) for need in stage.needs}
    banks = {role: ReferenceBank.load(place / BANK) for role, place in roles.items()}
    losses = {role: _facts(place)["losses"] for role, place in roles.items()}
    tuned = "multitask" if "multitask" in roles else "tuned"
    controls = {role: bank for role, bank in banks.items() if role.startswith("control@")}
    extra = [measure for measure in stage.settings["measures"] if measure != "cka"]
    facts: dict[str, Any] = {"task": task, "tuned": tuned, "confidence": confidence, "losses": _loss_means(losses)}
    drift = against(task, banks[tuned], [banks["base"]], estimator)
    _write(folder / "drift.parquet", drift, banks[tuned], [banks["base"]], "base", estimator, confidence, extra)
    if losses["base"]:
        compared = {
            role: asdict(improvement(losses["base"], losses[role], confidence))
            for role in roles
            if role != "base" and losses[role]
        }
        facts["loss_gain_over_base"] = compared
        # Unknown where a control that was taken over has no losses of these tokens.
        if all(role in compared for role in controls):
            facts["not_learned"] = sorted(role for role in controls if not compared[role]["low"] > 0)
    if controls:
        found = {role: against(task, banks[role], list(controls.values()), estimator) for role in ("base", tuned)}
        for role, similarity in found.items():
            name = "single-task control"
            _write(
                folder / f"{role}.parquet",
                similarity,
                banks[role],
                list(controls.values()),
                name,
                estimator,
                confidence,
                extra,
            )
        facts |= _gains(task, found["base"], found[tuned], banks, tuned, controls, estimator, confidence)
    (folder / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def against(task: str, bank: ReferenceBank, references: Sequence[ReferenceBank], estimator: str) -> Similarity:
    """One model against several references of the same prompts, averaged."""
    found, reasons = [], [""] * len(bank.layers)
    k = bank.gram(task)
    for reference in references:
        align(bank, reference)
        other = reference.gram(task)
        found.append(cka_replicates(k, other, estimator=estimator))
        for place, reason in enumerate(undefined_reasons(k, other, estimator)):
            reasons[place] = reasons[place] or reason
    values, replicates = (torch.stack(part).mean(dim=0) for part in zip(*found, strict=True))
    return Similarity(values, replicates, reasons)


def _gains(
    task: str,
    base: Similarity,
    tuned: Similarity,
    banks: dict[str, ReferenceBank],
    role: str,
    controls: dict[str, ReferenceBank],
    estimator: str,
    confidence: float,
) -> dict[str, Any]:
    """Question 1 of the paper for one task, with the noise between seeds."""
    keep = torch.isfinite(base.values) & torch.isfinite(tuned.values)
    keep &= torch.isfinite(base.replicates).all(dim=-1) & torch.isfinite(tuned.replicates).all(dim=-1)
    layers = [layer for layer, kept in zip(banks["base"].layers, keep.tolist(), strict=True) if kept]
    if not layers:
        nothing = asdict(Mean(float("nan"), float("nan"), float("nan")))
        return {"encoded": nothing, "gained": nothing, "gain_layers": [], "verdict": "undefined", "noise": None}
    encoded = mean_over_layers(base.values[keep], base.replicates[keep], confidence)
    gained = mean_over_layers(
        tuned.values[keep] - base.values[keep], tuned.replicates[keep] - base.replicates[keep], confidence
    )
    found: dict[str, Any] = {"noise": None, "control_agreement": None}
    if len(controls) > 1:
        # What the gain would have been with each seed's control alone: half of its range is luck of the seed.
        each = []
        for control in controls.values():
            one, two = (against(task, banks[who], [control], estimator).values[keep] for who in ("base", role))
            each.append(float((two - one).mean()))
        pairs = [against(task, a, [b], estimator).values for a, b in combinations(controls.values(), 2)]
        found["noise"] = (max(each) - min(each)) / 2
        found["control_agreement"] = torch.stack(pairs).mean(dim=0).tolist()
    return found | {
        "encoded": asdict(encoded),
        "gained": asdict(gained),
        "gain_layers": layers,
        "verdict": verdict(gained, found["noise"]),
    }


def _write(
    path: Path,
    similarity: Similarity,
    bank: ReferenceBank,
    references: Sequence[ReferenceBank],
    name: str,
    estimator: str,
    confidence: float,
    extra: Sequence[str],
) -> None:
    n = similarity.replicates.shape[-1]
    spread = similarity.replicates - similarity.replicates.mean(dim=-1, keepdim=True)
    half = NormalDist().inv_cdf(0.5 + confidence / 2) * (spread.square().sum(dim=-1) * (n - 1) / n).sqrt()
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
                "estimator": estimator,
                "value": similarity.values.numpy(),
                "low": (similarity.values - half).numpy(),
                "high": (similarity.values + half).numpy(),
                "reason": similarity.reasons,
            }
        )
    ]
    for measure in extra:
        frames.append(_average(bank, references, measure, estimator, confidence))
    meta = {
        "layers": list(bank.layers),
        "num_layers": bank.num_layers,
        "tasks": [task],
        "clusters": bank.clusters,
        "examples": {task: n},
        "examples_digest": bank.examples_digest,
        "tokens_digest": bank.tokens_digest,
        "reference": name,
        "reference_digest": references[0].digest if len(references) == 1 else "",
        "measure": "cka",
        "estimator": estimator,
        "model_name": bank.model_name,
        "confidence": confidence,
    }
    LayerProfile(pd.concat(frames, ignore_index=True), meta).to_parquet(path)


def _average(
    bank: ReferenceBank, references: Sequence[ReferenceBank], measure: str, estimator: str, confidence: float
) -> pd.DataFrame:
    """Another measure, mean over the seeds' controls; its interval is the widest of theirs."""
    frames = [
        compare(
            bank,
            each,
            measure=measure,
            estimator=estimator,
            confidence=confidence,
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


def _facts(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / MEASURED).read_text(encoding="utf-8"))
    return found


def _loss_means(losses: dict[str, list[float]]) -> dict[str, float | None]:
    return {role: float(np.mean(values)) if values else None for role, values in losses.items()}
