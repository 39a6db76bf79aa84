"""Several signals of one model, cut apart: where they agree on a transition and where they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lightning_layerscope.transitions.transition import Transition

BESIDE = 1
"""A boundary of one signal is known to within a layer at best: signals agree on a layer in or beside each interval."""


@dataclass(frozen=True)
class SignalCut:
    """Where one signal changes.

    Attributes:
        name: Which signal, for instance ``"median"``.
        start: First layer of its transition; ``None`` where it has none.
        end: Last layer of its transition; ``None`` where it has none, or where the signal has a start only.
        start_interval: First and last plausible start.
        end_interval: First and last plausible end.
        reason: Why there is none, or why there is no end; ``""`` where both are named.
    """

    name: str
    start: int | None
    end: int | None
    start_interval: tuple[int, int] | None
    end_interval: tuple[int, int] | None
    reason: str

    @classmethod
    def of(cls, name: str, cut: Transition) -> SignalCut:
        """The cut of a signal whose transition was found or not."""
        return cls(name, cut.start, cut.end, cut.start_interval, cut.end_interval, cut.reason)

    @classmethod
    def none(cls, name: str, reason: str) -> SignalCut:
        """A signal without a cut, for this reason."""
        return cls(name, None, None, None, None, reason)


@dataclass(frozen=True)
class Agreement:
    """What the signals say together of one boundary.

    Attributes:
        low: Least layer of the signals that agree; of all, where they do not.
        high: Greatest layer of the same.
        signals: How many of them agree; 0 where no more than two thirds do.
        named: How many name the boundary.
    """

    low: int
    high: int
    signals: int
    named: int


@dataclass(frozen=True)
class SignalTable:
    """The cuts of several signals of one model.

    Attributes:
        cuts: One per signal.
        layers: Layers that were measured.
        confidence: Nominal coverage of the intervals.
        tasks: How many there are.
    """

    cuts: tuple[SignalCut, ...]
    layers: tuple[int, ...]
    confidence: float
    tasks: int

    @property
    def start(self) -> Agreement | None:
        """Where the transition starts; ``None`` where no signal names it."""
        return _agreement([(cut.start, cut.start_interval) for cut in self.cuts])

    @property
    def end(self) -> Agreement | None:
        """Where it ends; ``None`` where no signal names it."""
        return _agreement([(cut.end, cut.end_interval) for cut in self.cuts])

    def describe(self) -> str:
        """One sentence for people.

        Examples:
            >>> median = SignalCut("median", 9, 11, (8, 10), (11, 12), "")
            >>> crossing = SignalCut("crossing", 9, None, (9, 9), None, "it has a start only")
            >>> SignalTable((median, crossing), tuple(range(1, 33)), 0.9, 60).describe()
            'By 2 of 2 signals the transition starts at layer 9; one signal alone names its end: 11.'
        """
        count = len(self.cuts)
        if self.start is None and self.end is None:
            return f"None of {count} signals names a transition."
        start, end = _words("starts", self.start, count), _words("ends", self.end, count)
        if self.start is not None and self.start.signals:
            start = f"By {self.start.signals} of {count} signals the transition starts at {_span(self.start)}"
        return f"{start[0].upper()}{start[1:]}; {end}."

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SignalTable:
        """The inverse of :meth:`to_dict`, also after a way through JSON."""
        plain: list[dict[str, Any]] = [
            {key: tuple(value) if isinstance(value, list) else value for key, value in cut.items()}
            for cut in values["cuts"]
        ]
        cuts = tuple(SignalCut(**cut) for cut in plain)
        return cls(cuts, tuple(values["layers"]), values["confidence"], values["tasks"])


def _agreement(sides: Sequence[tuple[int | None, tuple[int, int] | None]]) -> Agreement | None:
    """Signals agree where more than two thirds of those that name the boundary have one layer in or beside it."""
    named = [(layer, span) for layer, span in sides if layer is not None and span is not None]
    if not named:
        return None
    groups = [
        [layer for layer, (low, high) in named if low - BESIDE <= at <= high + BESIDE]
        for at in range(min(low for _, (low, _) in named), max(high for _, (_, high) in named) + 1)
    ]
    most = max(groups, key=len)
    agree = len(most) if len(most) >= 2 and 3 * len(most) > 2 * len(named) else 0
    layers = most if agree else [layer for layer, _ in named]
    return Agreement(min(layers), max(layers), agree, len(named))


def _words(verb: str, agreed: Agreement | None, count: int) -> str:
    noun = "start" if verb == "starts" else "end"
    if agreed is None:
        return f"no signal names its {noun}"
    if agreed.signals:
        return f"by {agreed.signals} of {count} it {verb} at {_span(agreed)}"
    if agreed.named == 1:
        return f"one signal alone names its {noun}: {agreed.low}"
    return f"the {noun} is not agreed on: {agreed.low} to {agreed.high}"


def _span(agreed: Agreement) -> str:
    return f"layer {agreed.low}" if agreed.low == agreed.high else f"layers {agreed.low}-{agreed.high}"
