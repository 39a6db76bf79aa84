"""Are a task's controls specialists? By their held-out losses, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
    """

    controls: dict[str, float | None]
    learned: dict[str, Interval]
    behind: dict[str, Interval]

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
    def under_trained(self) -> list[str] | None:
        """Controls whose loss is above the tuned model's beyond chance; None where that is not known of all."""
        if not self._complete(self.behind):
            return None
        return [key for key, gain in self.behind.items() if gain.above_zero]

    def _complete(self, compared: Mapping[str, Interval]) -> bool:
        return all(key in compared for key in self.controls)


def compare_losses(
    base: MeasuredFacts, tuned: MeasuredFacts, controls: Mapping[str, MeasuredFacts], confidence: float
) -> ComparedLosses:
    """Compare losses where they are of the same rows; others say nothing of each other."""
    return ComparedLosses(
        controls={key: facts.mean_loss for key, facts in controls.items()},
        learned=_paired(base, controls, confidence),
        behind={key: -gain for key, gain in _paired(tuned, controls, confidence).items()},
    )


def _paired(model: MeasuredFacts, controls: Mapping[str, MeasuredFacts], confidence: float) -> dict[str, Interval]:
    """How much lower each control's loss is than the model's."""
    return {
        key: improvement(model.losses, facts.losses, confidence)
        for key, facts in controls.items()
        if model.losses and facts.losses and model.rows == facts.rows
    }
