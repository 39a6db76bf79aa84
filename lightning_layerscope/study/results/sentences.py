"""What a study's numbers say, in sentences, and what one should know before relying on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from lightning_layerscope.study.results.study_results import DRIFT, StudyResults
from lightning_layerscope.study.results.table import TaskRow, task_rows
from lightning_layerscope.transitions import Transition


def read_study(results: StudyResults, cuts: Mapping[str, Transition]) -> list[str]:
    """What the numbers say, in sentences; only what has an interval is called a finding."""
    told = []
    if results.has_controls:
        known = [row for row in task_rows(results) if row.gained is not None]
        rows = [row for row in known if row.control_learned is not False]
        if rows:
            learned = "learned" if all(row.control_learned for row in rows) else "is not known to have missed"
            counts = Counter(row.verdict or "" for row in rows)
            told.append(
                f"Of {len(rows)} tasks whose control {learned} its task, by the interval of each: "
                + ", ".join(f"{words}: {count}" for words, count in sorted(counts.items()))
                + ". The intervals are not corrected for the number of tasks."
            )
            encoded, gained = _means(rows)
            told.append(
                f"Mean over these tasks: the base model holds {encoded:.3f} of what the controls hold "
                f"(CKA, mean over layers); tuning adds {gained:+.3f}."
            )
            for seen, words in ((True, "seen"), (False, "not seen")):
                part = [row for row in rows if row.seen is seen]
                if part and results.trained and len(part) < len(rows):
                    told.append(f"Tasks {words} in training gain {_means(part)[1]:+.3f} ({len(part)} tasks).")
    else:
        mean = results.profiles[DRIFT].mean_curve()
        low = mean.iloc[int(np.nanargmin(mean["value"].to_numpy()))]
        told.append(
            f"The tuned model is farthest from the base model at layer {int(low['layer'])}: mean CKA over "
            f"{len(results.names)} tasks {low['value']:.3f}."
        )
    return told + [cut.describe() for cut in cuts.values()]


def _means(rows: Sequence[TaskRow]) -> tuple[float, float]:
    """Mean of what was encoded and of what was gained."""
    table = np.asarray([(row.encoded, row.gained) for row in rows], dtype=float)
    encoded, gained = table.mean(axis=0).tolist()
    return encoded, gained


def notices(results: StudyResults) -> list[str]:
    """What a reader should know before relying on the numbers."""
    told = []
    unlearned = [row.task for row in task_rows(results) if row.control_learned is False]
    if unlearned:
        told.append(
            f"The controls of {len(unlearned)} tasks did not learn their task (held-out loss not below the base "
            f"model's beyond chance), so that similarity to them means nothing: {', '.join(unlearned)}."
        )
    unknown = [row.task for row in task_rows(results) if row.control_learned is None]
    if results.has_controls and unknown:
        told.append(
            f"Whether the controls of {len(unknown)} tasks learned their task is not known, for want of held-out "
            f"losses of the same tokens: {', '.join(unknown)}."
        )
    if results.has_controls and all(
        facts.gains is None or facts.gains.noise is None for facts in results.comparisons.values()
    ):
        told.append(
            "There is one seed per control, so the noise floor is not known: controls trained with "
            "training.control_seeds: [0, 1] give it."
        )
    few = [name for name in results.names if results.probes[name].test_rows < 100]
    if few:
        told.append(f"{len(few)} tasks have fewer than 100 prompts, and wide intervals: {', '.join(few)}.")
    cut = {name: facts.truncated for name, facts in results.probes.items() if facts.truncated}
    if cut:
        told.append("Prompts cut to the token budget: " + ", ".join(f"{k} {v}" for k, v in cut.items()) + ".")
    if results.profiles[DRIFT].meta["estimator"] == "biased":
        told.append("The biased estimator is inflated where examples are fewer than dimensions.")
    return told
