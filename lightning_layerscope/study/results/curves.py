"""The curves over layers: where they are cut, and the study in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lightning_layerscope.json_files import finite_or_none
from lightning_layerscope.study.results.study_results import DRIFT, Array, StudyResults
from lightning_layerscope.study.results.table import GUESSING, UNDER_TRAINED, UNLEARNED, judged_tasks, task_rows
from lightning_layerscope.transitions import SignalTable, Transition, find_signals, find_transitions


@dataclass(frozen=True)
class Curve:
    """A measure over layers, over tasks; None where it is undefined."""

    mean: list[float | None]
    median: list[float | None]


@dataclass(frozen=True)
class StudySummary:
    """A study in numbers; ``summary.json``.

    Attributes:
        name: Name of the study.
        tasks: How many.
        clusters: How many.
        unseen_tasks: How many were not trained on.
        layers: Numbers of the layers.
        curves: Role to its curve, over all tasks.
        judged: Role to its curve over the seen tasks whose controls are specialists; empty where that is all or none.
        verdicts: Verdict to the number of tasks that have it.
        not_learned: Tasks whose control did not learn.
        guessing: Tasks whose control is no better than answering by the frequency of the answers.
        under_trained: Tasks whose control learned, but less than the tuned model.
        at_bound: Tasks whose control was still improving when its bound ended it.
        transitions: Name of a curve to how it is cut, in words, and under "signals" where the signals agree.
        figures: Name of a figure to its caption.
        layer_check: The causal check in words; empty where none was made.
    """

    name: str
    tasks: int
    clusters: int
    unseen_tasks: int
    layers: list[int]
    curves: dict[str, Curve]
    verdicts: dict[str, int]
    not_learned: list[str]
    guessing: list[str]
    under_trained: list[str]
    at_bound: list[str]
    transitions: dict[str, str]
    figures: dict[str, str]
    layer_check: str = ""
    judged: dict[str, Curve] = field(default_factory=dict)


def transitions(results: StudyResults, confidence: float) -> dict[str, Transition]:
    """The cuts of every curve, and of the drift.

    Both models against the control, on seen tasks, on those of them whose controls are specialists where these are not
    all, and on unseen tasks.
    """
    cuts = {}
    against = "single-task control" if results.has_controls else "base"
    groups = {"": results.seen, "judged": judged_tasks(results), "unseen": results.unseen}
    which = {"": "", "judged": ", tasks whose control is a specialist", "unseen": ", unseen tasks"}
    for group, names in groups.items():
        if not names:
            continue
        for role, values in results.values(names).items():
            signal = f"{role} against {against} (cka){which[group]}"
            key = f"{role} {group}".strip()
            cuts[key] = find_transitions(
                values, signal=signal, confidence=confidence, layers=results.layers, clusters=_clusters(results, names)
            )
    if results.has_controls:
        drift = results.profiles[DRIFT].matrix()
        cuts[DRIFT] = find_transitions(
            drift,
            signal=f"drift of {results.tuned.key} from base (cka)",
            confidence=confidence,
            layers=results.layers,
            clusters=results.clusters,
        )
    return cuts


def signals(results: StudyResults, confidence: float) -> SignalTable:
    """Where the signals of the tuned model change, on the tasks that it was trained on."""
    curves = results.values(results.seen)
    base = curves.pop("base") if results.has_controls else None
    (tuned,) = curves.values()
    counts = results.components().get(results.tuned.key)
    neighbours = results.neighbours()
    seen = [results.names.index(name) for name in results.seen]
    measured = results.measured[results.tuned.key]
    return find_signals(
        tuned,
        base,
        components=None if counts is None else counts[seen],
        prompts=[measured[name].component_rows or 0 for name in results.seen],
        neighbours=None if neighbours is None else neighbours[seen],
        clusters=_clusters(results, results.seen),
        layers=results.layers,
        confidence=confidence,
    )


def _clusters(results: StudyResults, names: Sequence[str]) -> list[str]:
    cluster = dict(zip(results.names, results.clusters, strict=True))
    return [cluster[name] for name in names]


def summarise(
    results: StudyResults, cuts: dict[str, Transition], table: SignalTable, *, name: str, figures: dict[str, str]
) -> StudySummary:
    """The study in numbers."""
    rows = task_rows(results)
    verdicts: dict[str, int] = {}
    for row in rows:
        if row.judged:
            verdicts[row.verdict or ""] = verdicts.get(row.verdict or "", 0) + 1
    curves = {role: _curve(profile.matrix()) for role, profile in results.profiles.items()}
    specialists = judged_tasks(results)
    judged = {role: _curve(values) for role, values in results.values(specialists).items()} if specialists else {}
    return StudySummary(
        name=name,
        tasks=len(rows),
        clusters=len(set(results.clusters)),
        unseen_tasks=sum(row.seen is False for row in rows),
        layers=results.layers,
        curves=curves,
        verdicts=verdicts,
        not_learned=[row.task for row in rows if row.verdict == UNLEARNED],
        guessing=[row.task for row in rows if row.verdict == GUESSING],
        under_trained=[row.task for row in rows if row.verdict == UNDER_TRAINED],
        at_bound=[row.task for row in rows if row.control_at_bound],
        transitions={name: cut.describe() for name, cut in cuts.items()} | {"signals": table.describe()},
        figures=figures,
        judged=judged,
    )


def _curve(values: Array) -> Curve:
    """Of (tasks, layers)."""
    defined = np.isfinite(values).any(axis=0)
    mean, median = np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
    mean[defined] = np.nanmean(values[:, defined], axis=0)
    median[defined] = np.nanmedian(values[:, defined], axis=0)
    return Curve(_plain(mean), _plain(median))


def _plain(values: Array) -> list[float | None]:
    return [finite_or_none(value) for value in values]
