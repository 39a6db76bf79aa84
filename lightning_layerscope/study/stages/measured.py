"""What is kept of one model on one task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lightning_layerscope.extraction import HiddenStates
from lightning_layerscope.functional import centered_gram, cka_from_grams, components_for_variance, prepare_gram
from lightning_layerscope.references import ReferenceBank
from lightning_layerscope.study.stages.records import read_record, write_record

Array = np.ndarray[Any, np.dtype[np.float64]]
BANK, FACTS = "bank", "measured.json"
_SAMPLE = "sample.safetensors"
MOST_IN_GRAMS = 2048
"""With more examples than this a Gram matrix is no smaller than the states of most models: these are kept then."""
_LEAST = 4
"""Debiased CKA needs as many examples."""
_SAMPLED = 32
"""Prompts of each task whose states are kept for pictures."""


@dataclass(frozen=True)
class MeasuredFacts:
    """Numbers of one model on one task.

    Attributes:
        layers: Numbers of the layers.
        num_layers: How many the model has.
        width: Width of a state.
        examples: Prompts.
        losses: Cross-entropy per answer token of each held-out row, in nats; empty where rows have no answers.
        rows: Digest of these rows; losses are paired where it is the same.
        components: Principal components for 99 % of the variance, per layer; None where no pictures are wanted.
        component_rows: From how many prompts.
        neighbours: Debiased CKA of each layer with the measured one before, from as many, NaN for the first; None where
            no pictures are wanted or prompts are fewer than four.
    """

    layers: list[int]
    num_layers: int
    width: int
    examples: int
    losses: list[float]
    rows: str
    components: list[float] | None = None
    component_rows: int | None = None
    neighbours: list[float] | None = None

    @property
    def mean_loss(self) -> float | None:
        """Mean over the held-out rows."""
        return float(np.mean(self.losses)) if self.losses else None


@dataclass(frozen=True)
class RowLosses:
    """Losses of held-out rows.

    Attributes:
        losses: One per row, in nats per answer token; empty where rows have no answers.
        rows: Digest of the rows.
    """

    losses: list[float]
    rows: str


@dataclass(frozen=True)
class MeasuredModel:
    """One model on one task.

    Attributes:
        folder: Where it lies.
        facts: Its numbers.
    """

    folder: Path
    facts: MeasuredFacts

    @property
    def bank_folder(self) -> Path:
        """Where its bank lies."""
        return self.folder / BANK

    def bank(self) -> ReferenceBank:
        """Its hidden states, as Gram matrices or as they are."""
        return ReferenceBank.load(self.bank_folder)

    def sample(self) -> Array | None:
        """States of a few prompts, (layers, prompts, width); None where none were kept."""
        path = self.folder / _SAMPLE
        return load_file(path)["states"].float().numpy() if path.is_file() else None


def write_measured(states: HiddenStates, task: str, losses: RowLosses, folder: Path, *, pictured: bool) -> None:
    """Write the numbers of one model, and where ``pictured`` what figures are drawn from; the bank stands beside."""
    held = states[task]
    components, count, neighbours = None, None, None
    if pictured:
        # bfloat16: outlier dimensions would overflow float16.
        save_file({"states": held[:, :_SAMPLED].to(torch.bfloat16).contiguous()}, folder / _SAMPLE)
        rows = held[:, :MOST_IN_GRAMS]
        components, count = components_for_variance(rows).tolist(), rows.shape[1]
        neighbours = _neighbours(rows) if count >= _LEAST else None
    facts = MeasuredFacts(
        layers=list(states.layers),
        num_layers=states.num_layers,
        width=held.shape[-1],
        examples=len(states.example_ids[task]),
        losses=losses.losses,
        rows=losses.rows,
        components=components,
        component_rows=count,
        neighbours=neighbours,
    )
    write_record(facts, folder / FACTS)


def _neighbours(rows: Tensor) -> list[float]:
    """CKA of each layer with the one before; no more than two layers' Grams are held."""
    found, before = [], None
    for states in rows:
        here = prepare_gram(centered_gram(states))
        found.append(float("nan") if before is None else float(cka_from_grams(before, here)))
        before = here
    return found


def load_measured(folder: Path) -> MeasuredModel:
    """Read what lies in a folder.

    Raises:
        FileNotFoundError: If the numbers are not there.
        ValueError: If they cannot be used.
    """
    return MeasuredModel(folder, read_record(MeasuredFacts, folder / FACTS))
