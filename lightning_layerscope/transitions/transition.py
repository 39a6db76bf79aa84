"""The cut of the layers into shared, transition and refinement, or the statement that there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lightning_layerscope.notebook import card
from lightning_layerscope.wording import count


@dataclass(frozen=True)
class Transition:
    """Where the curve over layers changes from one level to another.

    Attributes:
        found: Whether the data name a transition.
        start: First layer of the transition part, the first block that moves the curve; ``None`` when not found.
        end: Last layer of the transition part, the last block that moves it; ``None`` when not found.
        start_interval: First and last plausible ``start``, from a bootstrap over clusters of tasks; it reaches over
            layers that were not measured. ``None`` when not found.
        end_interval: The same for ``end``.
        confidence: Nominal coverage of each interval, e.g. 0.9.
        signal: What was cut, e.g. ``"drift from initial (cka)"`` or ``"tuned against control (cka)"``.
        reason: Why there is no transition; ``""`` when one was found.
        layers: The layers that were measured, in order.
        shape: What describes the curve best in tasks it was not fitted to: ``"flat"``, ``"line"``, ``"step"``,
            ``"flat at the start"``, ``"flat at the end"``, ``"ramp"``, ``"one bend"``, ``"three levels"``, ``"ramp on a
            line"``, ``"two bends"``, ``"two changes"``; ``""`` when not examined.
        levels: Mean of the curve over the shared, transition and refinement layers; empty when not found.
        tasks: Number of tasks that the curve averages.
        clusters: Number of clusters that were halved and resampled; 0 where tasks were.
        notes: What was left out or filled in and why, in words.
    """

    found: bool
    start: int | None
    end: int | None
    start_interval: tuple[int, int] | None
    end_interval: tuple[int, int] | None
    confidence: float
    signal: str
    reason: str
    layers: tuple[int, ...]
    shape: str = ""
    levels: tuple[float, ...] = ()
    tasks: int = 0
    clusters: int = 0
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """``"drift transition"`` where the signal is a drift from the run's own reference, else ``"transition"``."""
        return "drift transition" if self.signal.startswith("drift") else "transition"

    @property
    def shared(self) -> tuple[int, ...]:
        """Layers before the transition; empty when none was found."""
        return () if self.start is None else tuple(layer for layer in self.layers if layer < self.start)

    @property
    def transition(self) -> tuple[int, ...]:
        """Layers of the transition; empty when none was found."""
        if self.start is None or self.end is None:
            return ()
        return tuple(layer for layer in self.layers if self.start <= layer <= self.end)

    @property
    def refinement(self) -> tuple[int, ...]:
        """Layers after the transition; empty when none was found."""
        return () if self.end is None else tuple(layer for layer in self.layers if layer > self.end)

    def describe(self) -> str:
        """One or two sentences for people.

        Examples:
            >>> none = Transition(False, None, None, None, None, 0.9, "drift from initial (cka)", "it is flat", (1, 2))
            >>> none.describe()
            'No drift transition in drift from initial (cka): it is flat.'
        """
        notes = "".join(f" Note: {note}." for note in self.notes)
        if not self.found or self.start_interval is None or self.end_interval is None:
            return f"No {self.kind} in {self.signal}: {self.reason}.{notes}"
        before, middle, after = (f"{level:.3g}" for level in self.levels)
        kind = self.kind[0].upper() + self.kind[1:]
        clusters = f" in {count(self.clusters, 'cluster')}" if self.clusters else ""
        return (
            f"{kind} in {self.signal}: shared layers {_span(self.shared)} (mean {before}), transition "
            f"{_span(self.transition)} (mean {middle}), refinement {_span(self.refinement)} (mean {after}). "
            f"At {self.confidence:.0%} confidence over {count(self.tasks, 'task')}{clusters} it starts at layer "
            f"{_span(self.start_interval)} and ends at layer {_span(self.end_interval)}; shape: {self.shape}.{notes}"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows: the sentences, and the layers and mean of each part."""
        if not self.found:
            return card(f"No {self.kind}", [self.describe()])
        parts = (("shared", self.shared), ("transition", self.transition), ("refinement", self.refinement))
        rows = [
            [name, _span(layers), f"{level:.3f}"]
            for (name, layers), level in zip(parts, self.levels, strict=True)
            if layers
        ]
        return card(self.kind.capitalize(), [self.describe()], ["part", "layers", "mean"], rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Transition:
        """The inverse of :meth:`to_dict`, also after a way through JSON (lists become tuples again)."""
        plain: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**plain)


def _span(layers: tuple[int, ...]) -> str:
    return str(layers[0]) if layers[0] == layers[-1] else f"{layers[0]}-{layers[-1]}"
