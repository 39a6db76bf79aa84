"""What the rules say of one model and its tasks, and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightning_layerscope.advice.exports import finetuning_schedule, lora_config, unfrozen_parameters
from lightning_layerscope.advice.lora_ranks import parameters
from lightning_layerscope.advice.selection import Selection
from lightning_layerscope.advice.targets import Targets
from lightning_layerscope.advice.verdict import Verdict
from lightning_layerscope.text_tables import number, table


@dataclass(frozen=True)
class Advice:
    """Layers to train, by every rule that was asked, and the one that is advised.

    Attributes:
        targets: The matrices that may get adapters.
        selections: What each rule says.
        ranks: Rule to the rank of each of its matrices, equal in parameters to 1 %.
        chosen: The rule that is advised: the trial's best, or the default without a trial.
        scaling: LoRA's alpha / rank.
        verdict: The verdict of the trial; None without one.
        unavailable: Rules that could not say anything, with the reason.
    """

    targets: Targets
    selections: Mapping[str, Selection]
    ranks: Mapping[str, Mapping[str, int]]
    chosen: str
    scaling: float
    verdict: Verdict | None
    unavailable: Mapping[str, str]

    @property
    def layers(self) -> tuple[int, ...]:
        """The advised layers, 1..L."""
        return self.selections[self.chosen].layers

    def lora_config(self, rule: str | None = None, **more: Any) -> Any:
        """A ``peft.LoraConfig`` for the advised layers, or another rule's.

        Args:
            rule: Default the advised one.
            more: Further arguments of ``LoraConfig``.
        """
        return lora_config(self.targets, self.ranks[rule or self.chosen], scaling=self.scaling, **more)

    def unfrozen_parameters(self, rule: str | None = None) -> list[str]:
        """Axolotl's ``unfrozen_parameters`` for full tuning of these layers."""
        return unfrozen_parameters(self.targets, self.selections[rule or self.chosen])

    def finetuning_schedule(self, rule: str | None = None, *, prefix: str = "model.") -> dict[int, dict[str, Any]]:
        """A schedule of finetuning-scheduler with these layers alone."""
        return finetuning_schedule(self.targets, [self.selections[rule or self.chosen]], prefix=prefix)

    def agreement(self) -> tuple[int, ...]:
        """How many rules name each of the layers 1..L; those that name all layers are not counted."""
        counted = [s for s in self.selections.values() if len(s.layers) < self.targets.num_layers]
        return tuple(sum(layer in s.layers for s in counted) for layer in range(1, self.targets.num_layers + 1))

    def layer_table(self) -> str:
        """Rules by layers: which layers each names, at which ranks and parameters."""
        columns = [str(layer) for layer in range(1, self.targets.num_layers + 1)]
        rows = []
        for name, selection in self.selections.items():
            own = self.ranks[name]
            used = sorted(set(own.values()))
            rank = str(used[0]) if len(used) == 1 else f"{used[0]}-{used[-1]}"
            marks = ["x" if layer in selection.layers else "." for layer in range(1, self.targets.num_layers + 1)]
            rows.append([name, *marks, rank, f"{parameters(self.targets, own):,}"])
        rows.append(["rules that agree", *(str(count) for count in self.agreement()), "", ""])
        return table(["rule", *columns, "rank", "parameters"], rows)

    def score_table(self) -> str:
        """Layers by rules: the scores of those that score layers, a dash where a layer has none; ``""`` without any."""
        scored = {name: selection.scores for name, selection in self.selections.items() if selection.scores}
        if not scored:
            return ""
        rows = [
            [str(layer + 1), *(number(scores[layer]) for scores in scored.values())]
            for layer in range(self.targets.num_layers)
        ]
        return table(["layer", *scored], rows)

    def describe(self) -> str:
        """What to do, how sure, and what it rests on."""
        layers = ", ".join(map(str, self.layers))
        if self.verdict is not None:
            return f"{self.verdict.describe()} Best by mean: {self.chosen}, layers {layers}."
        return (
            f"Without a trial: {self.chosen!r}, layers {layers}. This is the default from trials on other models, not "
            "a finding about yours; the rules disagree with one another, and a trial on your tasks settles it."
        )
