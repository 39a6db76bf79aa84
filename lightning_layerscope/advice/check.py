"""The causal check: which layers' changes are what a tuned model's answers rest on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from lightning_layerscope.advice.correlation import LEAST_LAYERS, rank_correlation
from lightning_layerscope.advice.restored import RestorableLayers
from lightning_layerscope.extraction import no_trace
from lightning_layerscope.functional.interval import Interval
from lightning_layerscope.functional.row_intervals import Array, over_rows
from lightning_layerscope.training.encoding import EncodedExample, collate
from lightning_layerscope.training.loss import answer_loss, device_of

if TYPE_CHECKING:
    import pandas as pd

WAYS = ("alone", "from_bottom", "from_top")
"""One layer back at a time; layers 1..l back; layers l..L back."""


@dataclass(frozen=True)
class LayerCheck:
    """How a tuned model's held-out loss changes when layers are put back to base.

    Attributes:
        row_tasks: Task of each row.
        tuned: ``(rows,)`` cross-entropy per answer token of the tuned model, in nats.
        restored: Way to ``(layers, rows)``, the same with layers put back; a way that was not asked for is missing.
        confidence: Nominal coverage of the intervals.
        drift: Task to 1 - CKA of base and tuned model in each layer; empty where it was not measured.
    """

    row_tasks: tuple[str, ...]
    tuned: Array
    restored: Mapping[str, Array]
    confidence: float = 0.9
    drift: Mapping[str, Array] = field(default_factory=dict)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks in order."""
        return tuple(dict.fromkeys(self.row_tasks))

    def change(self, way: str = "alone", task: str | None = None) -> list[Interval]:
        """Change of the loss for each layer, paired over rows: positive where the layer's training is missed.

        Args:
            way: One of ``"alone"``, ``"from_bottom"`` (layers 1..l are back) and ``"from_top"`` (layers l..L are).
            task: Which task; by default the mean over tasks.

        Raises:
            KeyError: For a way that was not measured.
        """
        names = np.array(self.row_tasks)
        tasks = self.tasks if task is None else (task,)
        return [
            over_rows([(losses - self.tuned)[names == name] for name in tasks], self.confidence)
            for losses in self.restored[way]
        ]

    def to_frame(self) -> pd.DataFrame:
        """One row per way, task (``"mean"``: over tasks) and layer: change of the loss with its interval."""
        import pandas as pd

        rows = [
            {"way": way, "task": task or "mean", "layer": layer, **vars(change)}
            for way in self.restored
            for task in (None, *self.tasks)
            for layer, change in enumerate(self.change(way, task), start=1)
        ]
        frame: pd.DataFrame = pd.DataFrame(rows)
        return frame

    def agreement(self) -> Interval:
        """Rank correlation over layers of the drift with the change of the loss when the layer alone is put back.

        Raises:
            ValueError: When drift or the layers alone were not measured.
        """
        if not self.drift or "alone" not in self.restored:
            raise ValueError('the agreement needs the drift curve and the way "alone"; measure both.')
        names = np.array(self.row_tasks)
        causal = [(self.restored["alone"] - self.tuned)[:, names == task].mean(axis=1) for task in self.tasks]
        drift = [self.drift[task] for task in self.tasks]
        return rank_correlation(np.array(drift), np.array(causal), self.confidence)

    def describe(self) -> str:
        """The check in words: which layers the answers rest on, and whether they are those that moved."""
        sentences = []
        if "alone" in self.restored:
            changes = self.change("alone")
            missed = [layer for layer, change in enumerate(changes, start=1) if change.low > 0]
            better = [layer for layer, change in enumerate(changes, start=1) if change.high < 0]
            sentences.append(
                f"The answers rest on the training of layers {_listed(missed)}: putting one of them back to base "
                "raises the loss beyond the rows' chance."
                if missed
                else "No layer alone is missed: putting any one of them back changes no more than the rows' chance."
            )
            if better:
                sentences.append(f"Without the training of layers {_listed(better)} the model answers better.")
        if self.drift and len(self.restored.get("alone", ())) >= LEAST_LAYERS:
            agreement = self.agreement()
            sentences.append(
                "No rank correlation of drift and change of loss: one of them is the same in all layers."
                if math.isnan(agreement.value)
                else f"Rank correlation of drift and change of loss over layers: {agreement.value:.2f} "
                f"({agreement.low:.2f} to {agreement.high:.2f}): {_meaning(agreement)}"
            )
        return " ".join(sentences)


def _meaning(agreement: Interval) -> str:
    if agreement.low > 0:
        return "the layers that moved more are those that matter more."
    if agreement.high < 0:
        return "the layers that moved more matter less."
    return "where the model moved does not tell which layers matter."


def _listed(layers: Sequence[int]) -> str:
    """Layers in few words: runs as ranges."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def check_rows(
    tuned: nn.Module,
    rows: Sequence[EncodedExample],
    *,
    base: nn.Module | None = None,
    ways: Sequence[str] = WAYS,
    max_tokens_per_batch: int = 1024,
    confidence: float = 0.9,
    progress: Callable[[int, int], None] | None = None,
) -> LayerCheck:
    """Put each layer back to base and score the rows; both models are left as they were.

    What comes before a restored layer is computed once per batch: all of one way costs (L + 1) / 2 passes instead of L.

    Args:
        tuned: The tuned model.
        rows: Encoded held-out rows of any tasks, at least two of each.
        base: The base model; default the tuned one with its adapters off.
        ways: Which of ``"alone"``, ``"from_bottom"`` and ``"from_top"``.
        max_tokens_per_batch: Bound of the padded tokens of a batch; its states in all layers are in memory twice.
        confidence: Nominal coverage of the intervals.
        progress: Called with (rows done, rows in all).

    Raises:
        ValueError: For an unknown way, or models that do not fit together (:class:`RestorableLayers`).
    """
    unknown = sorted(set(ways) - set(WAYS))
    if unknown or not ways:
        raise ValueError(f"expected ways of {WAYS}, got {unknown or 'none'}.")
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]), reverse=True)
    layers = RestorableLayers(tuned, base)
    plain = np.full(len(rows), np.nan)
    restored = {way: np.full((len(layers), len(rows)), np.nan) for way in ways}
    device, start = device_of(tuned), 0
    with no_trace(tuned), no_trace(tuned if base is None else base):
        while start < len(order):
            places = order[start : start + max(1, max_tokens_per_batch // len(rows[order[start]]))]
            start += len(places)
            batch = {key: value.to(device) for key, value in collate([rows[p] for p in places]).items()}
            with layers.recorded() as from_tuned:
                plain[places] = _losses(tuned, batch)
            from_base = list(from_tuned)
            if "from_bottom" in ways:
                with layers.restored(range(1, len(layers) + 1)), layers.recorded() as from_base:
                    restored["from_bottom"][-1][places] = _losses(tuned, batch)
            for layer in range(1, len(layers) + 1):
                for way in ways:
                    if way == "from_bottom" and layer == len(layers):
                        continue  # computed above
                    back, known = {
                        "alone": ([layer], from_tuned[: layer - 1]),
                        "from_bottom": ([], from_base[:layer]),
                        "from_top": (list(range(layer, len(layers) + 1)), from_tuned[: layer - 1]),
                    }[way]
                    with layers.restored(back, known):
                        restored[way][layer - 1][places] = _losses(tuned, batch)
            if progress is not None:
                progress(start, len(rows))
    return LayerCheck(tuple(row.task for row in rows), plain, restored, confidence)


def _losses(model: nn.Module, batch: dict[str, torch.Tensor]) -> Array:
    losses = answer_loss(model, batch)
    means: Array = (losses.total.double() / losses.tokens).cpu().numpy()
    return means
