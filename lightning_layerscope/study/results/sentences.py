"""What a study's numbers say, in sentences, and what one should know before relying on them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from lightning_layerscope.functional.cluster_intervals import MIN_CLUSTERS, narrow_note
from lightning_layerscope.functional.multiplicity import expected_by_chance
from lightning_layerscope.study.results.study_results import DRIFT, StudyResults
from lightning_layerscope.study.results.table import (
    GUESSING,
    UNCHECKED,
    UNDER_TRAINED,
    UNLEARNED,
    TaskRow,
    beside_rows,
    task_rows,
)
from lightning_layerscope.transitions import Transition
from lightning_layerscope.wording import count


def read_study(results: StudyResults, cuts: Mapping[str, Transition]) -> list[str]:
    """What the numbers say; only what has an interval is called a finding."""
    sentences = _specialists(results) if results.has_controls else [_drift(results)]
    return sentences + [cut.describe() for cut in cuts.values()]


def notices(results: StudyResults) -> list[str]:
    """What a reader should know before relying on the numbers."""
    rows = task_rows(results)
    sentences = [
        *_of(rows, UNLEARNED, "did not learn their task (held-out loss not below the base model's beyond chance)"),
        *_of(rows, UNCHECKED, "cannot be checked, for want of held-out losses of the same tokens"),
    ]
    if at_bound := [row.task for row in rows if row.control_at_bound]:
        sentences.append(
            f"The controls of {count(len(at_bound), 'task')} were still improving when the bound of their training "
            f"ended it (training.control_max_epochs): {', '.join(at_bound)}."
        )
    if results.has_controls and all(row.noise is None for row in rows):
        sentences.append(
            "There is one seed per control, so the noise floor is not known: controls trained with "
            "training.control_seeds: [0, 1] give it."
        )
    if few := [name for name in results.names if results.probes[name].test_rows < 100]:
        which = f": {', '.join(few)}" if len(few) < len(rows) else ""
        tasks = count(len(few), "task has", "tasks have") if which else "All tasks have"
        sentences.append(f"{tasks} fewer than 100 prompts, and wide intervals{which}.")
    if cut := {name: facts.truncated for name, facts in results.probes.items() if facts.truncated}:
        sentences.append("Prompts cut to the token budget: " + ", ".join(f"{k} {v}" for k, v in cut.items()) + ".")
    clusters = len({results.probes[name].cluster for name in results.names})
    by_cluster = MIN_CLUSTERS <= clusters < len(rows)
    if narrow := narrow_note(len(rows), clusters, by_cluster=by_cluster):
        sentences.append(f"Intervals over tasks are {narrow}.")
    if results.profiles[DRIFT].meta.estimator == "biased":
        sentences.append("The biased estimator is inflated where examples are fewer than dimensions.")
    return sentences


def _specialists(results: StudyResults) -> list[str]:
    """First the tasks of which nothing can be said, then the verdicts."""
    rows = task_rows(results)
    tuned = "multi-task model" if results.trained_here else "tuned model"
    sentences = []
    if behind := [row for row in rows if row.verdict == UNDER_TRAINED]:
        sentences.append(
            f"The controls of {len(behind)} of {count(len(rows), 'task')} are under-trained: their held-out loss is "
            f"above the {tuned}'s beyond the rows' chance, so that they are no specialists and give no verdict: "
            + ", ".join(f"{row.task} ({row.loss_control:.2f} against {row.loss_tuned:.2f} nats)" for row in behind)
            + "."
        )
    if blind := [row for row in rows if row.verdict == GUESSING]:
        sentences.append(
            f"The controls of {len(blind)} of {count(len(rows), 'task')} are no better than guessing: their held-out "
            "loss is not below that of answering by the frequency of the answers, beyond the rows' chance, so that "
            "they are no specialists and give no verdict: "
            + ", ".join(f"{row.task} ({row.loss_control:.2f} against {row.loss_guess:.2f} nats)" for row in blind)
            + "."
        )
    judged = [row for row in rows if row.judged and row.gained is not None]
    if judged:
        counts = Counter(row.verdict or "" for row in judged)
        sentences.append(
            f"Of {count(len(judged), 'task')} whose control is as good as the {tuned} by held-out loss (not worse "
            "beyond the rows' chance), by the interval of each: "
            + ", ".join(f"{words}: {number}" for words, number in sorted(counts.items()))
            + f". {_multiplicity(judged, results.confidence)}"
        )
        encoded, gained = _means(judged)
        sentences.append(
            f"Mean over these tasks: the base model holds {encoded:.3f} of what the controls hold "
            f"(CKA, mean over layers); tuning adds {gained:+.3f}."
        )
        for seen, words in ((True, "seen"), (False, "not seen")):
            part = [row for row in judged if row.seen is seen]
            if part and results.trained and len(part) < len(judged):
                sentences.append(f"Tasks {words} in training gain {_means(part)[1]:+.3f} ({count(len(part), 'task')}).")
    elif not behind and not blind:
        sentences.append(
            "No task has a control that is known to be as good as the model it judges: there is no verdict."
        )
    return sentences + _beside(results)


def _multiplicity(judged: Sequence[TaskRow], confidence: float) -> str:
    """How many of these verdicts chance alone would give, and how many hold for all tasks together."""
    level = 1 - confidence
    pvalues = [math.nan if row.pvalue is None else row.pvalue for row in judged]
    stay = sum(row.adjusted_pvalue is not None and row.adjusted_pvalue <= level for row in judged)
    return (
        f"If tuning changed nothing, {expected_by_chance(pvalues, level):.1f} tasks would be said to change by chance. "
        f"Said to change: {sum(value <= level for value in pvalues)}; left at a false discovery rate of "
        f"{level:.0%}: {stay}."
    )


def _beside(results: StudyResults) -> list[str]:
    sentences = []
    rows = beside_rows(results)
    main = {row.task: row for row in task_rows(results)}
    for budget in dict.fromkeys(row.control_budget for row in rows):
        both = [
            (row.gained, main[row.task].gained)
            for row in rows
            if row.control_budget == budget and row.gained is not None and main[row.task].gained is not None
        ]
        if both:
            there, here = np.asarray(both, dtype=float).mean(axis=0)
            sentences.append(
                f"Controls of the budget {budget.replace('_', ' ')} stand beside the others on "
                f"{count(len(both), 'task')}: seen from them tuning adds {there:+.3f}, "
                f"seen from the others {here:+.3f} on the same tasks."
            )
    return sentences


def _drift(results: StudyResults) -> str:
    mean = results.profiles[DRIFT].mean_curve()
    low = mean.iloc[int(np.nanargmin(mean["value"].to_numpy()))]
    return (
        f"The tuned model is farthest from the base model at layer {int(low['layer'])}: mean CKA over "
        f"{count(len(results.names), 'task')} {low['value']:.3f}."
    )


def _of(rows: Sequence[TaskRow], verdict: str, words: str) -> list[str]:
    tasks = [row.task for row in rows if row.verdict == verdict]
    if not tasks:
        return []
    return [f"The controls of {count(len(tasks), 'task')} {words}, so that no verdict is given: {', '.join(tasks)}."]


def _means(rows: Sequence[TaskRow]) -> tuple[float, float]:
    """Mean of what was encoded and of what was gained."""
    table = np.asarray([(row.encoded, row.gained) for row in rows], dtype=float)
    encoded, gained = table.mean(axis=0).tolist()
    return encoded, gained
