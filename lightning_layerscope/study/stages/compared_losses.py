"""Are a task's controls specialists? By their held-out losses, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lightning_layerscope.functional.interval import Interval
from lightning_layerscope.study.stages.improvement import improvement
from lightning_layerscope.study.stages.measured import MeasuredFacts


@dataclass(frozen=True)
class ComparedLosses:
    """Held-out losses of a task's controls beside those of both models; controls are named by the keys of their roles.

    Attributes:
        controls: Control to its mean loss, in nats per answer token; None where it has none of these rows.
        learned: Control to how much lower its loss is than the base model's, paired over rows.
        behind: Control to how much lower the tuned model's loss is than its own, paired over rows.
        guess: Mean loss of answering by the answers' frequency alone; None where answers do not repeat.
        informed: Control to how much lower its loss is than that, paired over rows.
    """

    controls: dict[str, float | None]
    learned: dict[str, Interval]
    behind: dict[str, Interval]
    guess: float | None = None
    informed: dict[str, Interval] = field(default_factory=dict)

    @property
    def mean(self) -> float | None:
        """Mean loss of the controls that have one."""
        known = [value for value in self.controls.values() if value is not None]
        return sum(known) / len(known) if known else None

    @property
    def unlearned(self) -> list[str] | None:
        """Controls whose loss is not below the base model's beyond chance; None where that is not known of all."""
        if not self._complete(self.learned):
            return None
        return [key for key, gain in self.learned.items() if not gain.above_zero]

    @property
    def guessing(self) -> list[str]:
        """Controls whose loss is not below that of answering by frequency alone, beyond chance."""
        return [key for key, gain in self.informed.items() if not gain.above_zero]

    @property
    def under_trained(self) -> list[str] | None:
        """Controls whose loss is above the tuned model's beyond chance; None where that is not known of all."""
        if not self._complete(self.behind):
            return None
        return [key for key, gain in self.behind.items() if gain.above_zero]

    def _complete(self, compared: Mapping[str, Interval]) -> bool:
        return all(key in compared for key in self.controls)


def compare_losses(
    base: MeasuredFacts,
    tuned: MeasuredFacts,
    controls: Mapping[str, MeasuredFacts],
    guess: Sequence[float] | None,
    confidence: float,
) -> ComparedLosses:
    """Compare losses where they are of the same rows; others say nothing of each other.

    Args:
        base: Of the base model.
        tuned: Of the tuned model.
        controls: Of the controls.
        guess: Losses of answering by frequency, of the base model's rows; None where answers do not repeat.
        confidence: Nominal coverage of intervals.
    """
    return ComparedLosses(
        controls={key: facts.mean_loss for key, facts in controls.items()},
        learned=_paired(base.losses, base.rows, controls, confidence),
        behind={key: -gain for key, gain in _paired(tuned.losses, tuned.rows, controls, confidence).items()},
        guess=None if guess is None else float(np.mean(guess)),
        informed=_paired(guess or (), base.rows, controls, confidence),
    )


def _paired(
    losses: Sequence[float], rows: str, controls: Mapping[str, MeasuredFacts], confidence: float
) -> dict[str, Interval]:
    """How much lower each control's loss is than these, where it has the same rows."""
    return {
        key: improvement(losses, facts.losses, confidence)
        for key, facts in controls.items()
        if losses and facts.losses and rows == facts.rows
    }
