"""What a trial says: selectors in order of loss, their gaps with intervals, and the words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lightning_layerscope.advice.intervals import over_tasks_and_seeds
from lightning_layerscope.advice.trial_file import BASE, TrialLine
from lightning_layerscope.functional.interval import Interval
from lightning_layerscope.functional.row_intervals import Array
from lightning_layerscope.wording import count


@dataclass(frozen=True)
class Standing:
    """One selector in a trial.

    Attributes:
        selector: Its name.
        seeds: Trainings of it.
        layers: Numbers of layers that its trainings trained.
        loss: Held-out cross-entropy per answer token, mean over tasks and seeds, in nats.
        gap: Loss above the best selector's, paired over tasks and common seeds, adjusted for all pairs; None for the
            best itself and without a common seed.
        retention: Loss on the retention set, mean over skills and seeds.
        forgotten: Retention loss above the base model's, over skills and seeds, not adjusted; None without the base
            model's line.
    """

    selector: str
    seeds: int
    layers: tuple[int, ...]
    loss: float
    gap: Interval | None
    retention: float
    forgotten: Interval | None


@dataclass(frozen=True)
class Verdict:
    """A trial's outcome.

    Attributes:
        standings: The best first.
        tied: Selectors that cannot be told from the best, itself included.
        seen: The smallest difference that every comparison with the best would have shown, in nats; NaN for fewer than
            two selectors.
        confidence: Nominal coverage of the intervals, all comparisons together.
    """

    standings: tuple[Standing, ...]
    tied: tuple[str, ...]
    seen: float
    confidence: float

    def describe(self) -> str:
        """In words: what to do, how sure, and what it rests on."""
        best, others = self.standings[0], self.standings[1:]
        rests = self._rests_on()
        if not others:
            return f"Only {best.selector!r} was tried, so there is nothing to choose from. {rests}"
        if len(self.tied) == len(self.standings):
            return (
                f"No difference that this trial could see (smaller than {self.seen:.2f} nats): train any of these "
                f"layers, the cheapest first. {rests}"
            )
        worse = ", ".join(standing.selector for standing in others if standing.selector not in self.tied)
        if len(self.tied) == 1:
            return f"Train the layers that {best.selector!r} names: every other choice ({worse}) did worse. {rests}"
        return (
            f"Train the layers that one of {', '.join(self.tied)} names; they cannot be told apart (differences "
            f"smaller than {self.seen:.2f} nats). Worse: {worse}. {rests}"
        )

    def _rests_on(self) -> str:
        seeds = sorted({standing.seeds for standing in self.standings})
        each = f"{seeds[0]} to {seeds[-1]} seeds" if seeds[0] < seeds[-1] else count(seeds[0], "seed")
        over = "tasks and seeds" if seeds[0] > 1 else "tasks alone: another seed may say otherwise"
        trainings = count(sum(standing.seeds for standing in self.standings), "short training")
        return (
            f"It rests on {trainings} ({each} of each rule) at equal trainable parameters; {self.confidence:.0%} "
            f"intervals, adjusted for all pairs, over {over}."
        )


def judge(lines: Iterable[TrialLine], confidence: float = 0.9) -> Verdict:
    """Compare the selectors of a trial.

    The best is the one with the lowest mean loss. Because it is chosen by looking, each gap's confidence is adjusted
    for all pairs of selectors (Bonferroni; Dunn 1961).

    Args:
        lines: The lines of one trial; the base model's own (selector ``"base"``) gives what was forgotten.
        confidence: Nominal coverage of all gaps together.

    Raises:
        ValueError: Without any training, or trainings on different tasks.
    """
    table: dict[str, dict[int, TrialLine]] = {}
    for line in lines:
        table.setdefault(line.selector, {})[line.seed] = line
    base = table.pop(BASE, {})
    if not table:
        raise ValueError("there is no finished training to judge.")
    tasks = {tuple(line.loss) for seeds in table.values() for line in seeds.values()}
    if len({frozenset(names) for names in tasks}) > 1:
        raise ValueError("the trainings were scored on different tasks; judge those of one trial.")
    means = {name: float(np.mean([_mean(line.loss) for line in seeds.values()])) for name, seeds in table.items()}
    order = sorted(table, key=lambda name: means[name])
    best, pairs = order[0], len(order) * (len(order) - 1) // 2
    adjusted = 1 - (1 - confidence) / max(pairs, 1)
    standings = []
    for name in order:
        kept = [_mean(line.retention) for line in table[name].values()]
        standings.append(
            Standing(
                name,
                len(table[name]),
                tuple(sorted({len(line.layers) for line in table[name].values()})),
                means[name],
                None if name == best else _gap(table[name], table[best], adjusted),
                float(np.mean(kept)),
                _forgotten(table[name], base, confidence),
            )
        )
    gaps = [standing.gap for standing in standings[1:]]
    # A gap without an interval (one task, one seed) rules nothing out.
    tied = [best, *(s.selector for s in standings[1:] if s.gap is None or not s.gap.low > 0)]
    widths = [gap.half_width for gap in gaps if gap is not None]
    return Verdict(tuple(standings), tuple(tied), max(widths) if widths else float("nan"), confidence)


def _gap(one: Mapping[int, TrialLine], best: Mapping[int, TrialLine], confidence: float) -> Interval | None:
    common = sorted(set(one) & set(best))
    if not common:
        return None
    tasks = list(one[common[0]].loss)
    differences = [[one[seed].loss[task] - best[seed].loss[task] for seed in common] for task in tasks]
    return over_tasks_and_seeds(_array(differences), confidence)


def _forgotten(lines: Mapping[int, TrialLine], base: Mapping[int, TrialLine], confidence: float) -> Interval | None:
    if not base:
        return None
    before = next(iter(base.values())).retention
    differences = [[line.retention[skill] - before[skill] for line in lines.values()] for skill in before]
    return over_tasks_and_seeds(_array(differences), confidence)


def _array(rows: Sequence[Sequence[float]]) -> Array:
    return np.array(rows, dtype=np.float64)


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / len(values)
