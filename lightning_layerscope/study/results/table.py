"""The results task by task, as typed rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from lightning_layerscope.json_files import finite_or_none
from lightning_layerscope.study.results.study_results import DRIFT, StudyResults
from lightning_layerscope.study.results.verdicts import Verdict, give_verdicts
from lightning_layerscope.study.stages.compare import AgainstControls
from lightning_layerscope.study.stages.gains import Gains

UNLEARNED, GUESSING = "control did not learn", "control no better than guessing"
UNDER_TRAINED, UNCHECKED = "control under-trained", "control not checked"
WITHHELD = (UNLEARNED, GUESSING, UNDER_TRAINED, UNCHECKED)
"""Instead of a verdict: there is no specialist to judge by, or nothing that says whether there is one."""


@dataclass(frozen=True)
class Means:
    """What was encoded and gained, with their intervals; None where undefined or where there is no control.

    Attributes:
        encoded: Mean over layers of CKA(base, control).
        encoded_low: Lower bound of its interval.
        encoded_high: Upper bound of its interval.
        gained: Mean over layers of CKA(tuned, control) - CKA(base, control).
        gained_low: Lower bound of its interval.
        gained_high: Upper bound of its interval.
    """

    encoded: float | None = None
    encoded_low: float | None = None
    encoded_high: float | None = None
    gained: float | None = None
    gained_low: float | None = None
    gained_high: float | None = None


@dataclass(frozen=True)
class TaskRow(Means):
    """One task; None where there is no such number. The names are the columns of ``tasks.csv``.

    Attributes:
        task: Name of the task.
        cluster: The cluster of the task.
        seen: Whether the multi-task model was trained on it; None where that is not known.
        prompts: That were probed.
        prompts_available: That there are.
        train_rows: That models of the study were trained on.
        noise: Half the range of the gain over the controls' seeds.
        verdict: What may be said of the task: what the gain says beside its noise, where the controls are specialists.
        pvalue: p-value of the gain against none, the noise of the controls' seeds pooled over tasks; None without a
            verdict.
        adjusted_pvalue: The same adjusted for the number of tasks judged (Benjamini and Hochberg).
        drift_mean_cka: Mean over layers of CKA(tuned, base).
        loss_base: Held-out loss, nats per answer token.
        loss_tuned: Held-out loss, nats per answer token.
        loss_control: Held-out loss, mean over the controls.
        loss_guess: Of answering by the frequency of the answers alone; None where answers do not repeat.
        control_learned: Whether every control's loss is below the base model's beyond chance; None where unknown.
        control_informed: Whether every control's loss is below ``loss_guess`` beyond chance; None where there is none.
        control_trained: Whether no control's loss is above the tuned model's beyond chance; None where unknown.
        control_budget: How long the controls were trained.
        control_steps: Optimiser steps that they took, mean.
        control_at_bound: Whether a control was still improving when its bound ended it; None where there is none.
    """

    task: str = ""
    cluster: str = ""
    seen: bool | None = None
    prompts: int = 0
    prompts_available: int = 0
    train_rows: int = 0
    noise: float | None = None
    verdict: str | None = None
    pvalue: float | None = None
    adjusted_pvalue: float | None = None
    drift_mean_cka: float | None = None
    loss_base: float | None = None
    loss_tuned: float | None = None
    loss_control: float | None = None
    loss_guess: float | None = None
    control_learned: bool | None = None
    control_informed: bool | None = None
    control_trained: bool | None = None
    control_budget: str | None = None
    control_steps: float | None = None
    control_at_bound: bool | None = None

    @property
    def judged(self) -> bool:
        """Whether there is a verdict, and no reason to withhold one."""
        return self.verdict is not None and self.verdict not in WITHHELD

    @property
    def reading(self) -> str:
        """The verdict, or why there is none, in numbers."""
        if self.verdict == UNDER_TRAINED:
            return f"{UNDER_TRAINED} ({self.loss_control:.2f} against {self.loss_tuned:.2f} nats)"
        if self.verdict == GUESSING:
            return f"{GUESSING} ({self.loss_control:.2f} against {self.loss_guess:.2f} nats)"
        return self.verdict or ""


@dataclass(frozen=True)
class BesideRow(Means):
    """One task against controls of another budget. The names are the columns of ``budgets.csv``.

    Attributes:
        task: Name of the task.
        control_budget: The budget of these controls.
        controls: How many.
        noise: Half the range of the gain over their seeds.
        verdict: What may be said of the task, seen from them.
        pvalue: p-value of the gain against none, as in :class:`TaskRow`, pooled over the tasks with controls of this
            budget.
        adjusted_pvalue: The same adjusted for the number of tasks judged by controls of this budget.
        loss_tuned: Held-out loss, nats per answer token.
        loss_control: Held-out loss, mean over these controls.
    """

    task: str = ""
    control_budget: str = ""
    controls: int = 0
    noise: float | None = None
    verdict: str = ""
    pvalue: float | None = None
    adjusted_pvalue: float | None = None
    loss_tuned: float | None = None
    loss_control: float | None = None


_Row = TypeVar("_Row", TaskRow, BesideRow)


def task_rows(results: StudyResults) -> list[TaskRow]:
    """One row per task."""
    rows = [_row(results, name) for name in results.names]
    groups = {row.task: results.comparisons[row.task].controls for row in rows if row.judged}
    verdicts = give_verdicts({task: group.gains for task, group in groups.items() if group}, results.confidence)
    return [_with_verdict(row, verdicts[row.task]) if row.task in verdicts else row for row in rows]


def judged_tasks(results: StudyResults) -> list[str]:
    """Tasks seen in training whose controls are specialists; empty where those are all, or none."""
    judged = {row.task for row in task_rows(results) if row.judged}
    names = [name for name in results.seen if name in judged]
    return names if len(names) < len(results.seen) else []


def _with_verdict(row: _Row, verdict: Verdict) -> _Row:
    return replace(
        row,
        verdict=verdict.words,
        pvalue=finite_or_none(verdict.pvalue),
        adjusted_pvalue=finite_or_none(verdict.adjusted),
    )


def beside_rows(results: StudyResults) -> list[BesideRow]:
    """One row per task and further budget; each budget's verdicts are adjusted together."""
    rows = [
        BesideRow(
            **_means(group.gains),
            task=name,
            control_budget=group.budget,
            controls=len(group.keys),
            noise=group.gains.noise,
            verdict=verdict_of(group),
            loss_tuned=facts.loss_tuned,
            loss_control=group.losses.mean,
        )
        for name, facts in results.comparisons.items()
        for group in facts.beside
    ]
    judged: dict[str, dict[str, Gains]] = {}
    for name, facts in results.comparisons.items():
        for group in facts.beside:
            if verdict_of(group) not in WITHHELD:
                judged.setdefault(group.budget, {})[name] = group.gains
    verdicts = {budget: give_verdicts(gains, results.confidence) for budget, gains in judged.items()}
    return [
        _with_verdict(row, verdicts[row.control_budget][row.task])
        if row.task in verdicts.get(row.control_budget, {})
        else row
        for row in rows
    ]


def verdict_of(group: AgainstControls) -> str:
    """What may be said of a task, seen from controls of one budget."""
    losses = group.losses
    if losses.unlearned:
        return UNLEARNED
    if losses.under_trained:
        return UNDER_TRAINED
    if losses.unlearned is None or losses.under_trained is None:
        return UNCHECKED
    return GUESSING if losses.guessing else group.gains.verdict


def _row(results: StudyResults, name: str) -> TaskRow:
    facts, probes, group = results.comparisons[name], results.probes[name], results.comparisons[name].controls
    drift = results.profiles[DRIFT].matrix()[results.names.index(name)]
    trainings = results.trainings[name]
    ends = [each.at_bound for each in trainings if each.at_bound is not None]
    return TaskRow(
        **_means(group.gains if group else None),
        task=name,
        cluster=probes.cluster,
        seen=name in results.trained if results.trained_here else None,
        prompts=probes.test_rows,
        prompts_available=probes.test_available,
        train_rows=results.train_rows[name],
        noise=group.gains.noise if group else None,
        verdict=verdict_of(group) if group else None,
        drift_mean_cka=finite_or_none(float(drift.mean())),
        loss_base=facts.loss_base,
        loss_tuned=facts.loss_tuned,
        loss_control=group.losses.mean if group else None,
        loss_guess=group.losses.guess if group else None,
        control_learned=_none_of(group.losses.unlearned) if group else None,
        control_informed=_none_of(group.losses.guessing) if group and group.losses.informed else None,
        control_trained=_none_of(group.losses.under_trained) if group else None,
        control_budget=group.budget if group else None,
        control_steps=sum(each.steps for each in trainings) / len(trainings) if trainings else None,
        control_at_bound=any(ends) if ends else None,
    )


def _means(gains: Gains | None) -> dict[str, float | None]:
    if gains is None:
        return {}
    intervals = {"encoded": gains.encoded, "gained": gains.gained}
    return {
        f"{name}{suffix}": finite_or_none(value)
        for name, mean in intervals.items()
        for suffix, value in (("", mean.value), ("_low", mean.low), ("_high", mean.high))
    }


def _none_of(controls: list[str] | None) -> bool | None:
    return None if controls is None else not controls
