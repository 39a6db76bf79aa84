"""Question 1 of the paper, task by task: what the base model held already, and what tuning added.

Per task, *encoded* is the mean over layers of CKA(base, control), *gained* the mean over layers of
CKA(tuned, control) - CKA(base, control). Both have delete-one jackknife intervals over the task's examples; the
difference is taken example by example, because base and tuned model saw the same prompts. The *noise floor* is how far
two controls of one task lie apart that differ in nothing but their seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch

from lightning_layerscope.functional.interval import Interval
from lightning_layerscope.references import ReferenceBank
from lightning_layerscope.study.stages.similarity import Similarity, against, mean_over_layers

GAINED, MOVED_AWAY, NO_CHANGE = "gained by tuning", "moved away from the specialist", "no change beyond the noise"
UNDEFINED = "undefined"


@dataclass(frozen=True)
class Gains:
    """What tuning added on one task.

    Attributes:
        encoded: What the base model held.
        gained: What tuning added.
        layers: Over which layers both are means: those where both models have a value.
        noise: Half the range of the gain over seeds; None with one control.
        control_agreement: CKA of the controls with each other per layer, mean over pairs; None with one.
        verdict: What the gain's interval says, in words; it holds for controls that are specialists.
        seed_gains: The gain with each seed's control alone; None with one.
    """

    encoded: Interval
    gained: Interval
    layers: list[int]
    noise: float | None
    control_agreement: list[float] | None
    verdict: str
    seed_gains: list[float] | None = None


@dataclass(frozen=True)
class Compared:
    """Both models, the controls, and how they are compared.

    Attributes:
        task: Name of the task.
        base: States of the base model.
        tuned: States of the tuned model.
        controls: States of the controls.
        estimator: Estimator of CKA.
        confidence: Nominal coverage of intervals.
    """

    task: str
    base: ReferenceBank
    tuned: ReferenceBank
    controls: Sequence[ReferenceBank]
    estimator: str
    confidence: float


def find_gains(compared: Compared, base: Similarity, tuned: Similarity) -> Gains:
    """The gain on one task, with the noise between seeds.

    Args:
        compared: The models.
        base: The base model against the controls.
        tuned: The tuned model against the controls.
    """
    keep = torch.isfinite(base.values) & torch.isfinite(tuned.values)
    keep &= torch.isfinite(base.replicates).all(dim=-1) & torch.isfinite(tuned.replicates).all(dim=-1)
    layers = [layer for layer, kept in zip(compared.base.layers, keep.tolist(), strict=True) if kept]
    if not layers:
        nothing = Interval(float("nan"), float("nan"), float("nan"))
        return Gains(nothing, nothing, [], None, None, UNDEFINED)
    confidence = compared.confidence
    encoded = mean_over_layers(base.values[keep], base.replicates[keep], confidence)
    gained = mean_over_layers(
        tuned.values[keep] - base.values[keep], tuned.replicates[keep] - base.replicates[keep], confidence
    )
    noise, agreement, each = None, None, None
    if len(compared.controls) > 1:
        # What the gain would have been with each seed's control alone: half of its range is luck of the seed.
        each = [_gain_with(compared, control, keep) for control in compared.controls]
        noise = (max(each) - min(each)) / 2
        pairs = [
            against(compared.task, a, [b], compared.estimator).values for a, b in combinations(compared.controls, 2)
        ]
        agreement = torch.stack(pairs).mean(dim=0).tolist()
    return Gains(encoded, gained, layers, noise, agreement, verdict(gained, noise), each)


def _gain_with(compared: Compared, control: ReferenceBank, keep: torch.Tensor) -> float:
    base, tuned = (
        against(compared.task, bank, [control], compared.estimator).values[keep]
        for bank in (compared.base, compared.tuned)
    )
    return float((tuned - base).mean())


def verdict(gained: Interval, noise: float | None) -> str:
    """What the numbers say of one task, in words.

    Args:
        gained: What tuning added.
        noise: Half the distance of two controls of different seeds, where there are several.
    """
    floor = noise or 0.0
    if gained.low > floor:
        return GAINED
    if gained.high < -floor:
        return MOVED_AWAY
    return NO_CHANGE
