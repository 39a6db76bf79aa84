"""The results task by task: typed rows, and Markdown that can be pasted into a paper."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lightning_layerscope.study.results.study_results import DRIFT, StudyResults
from lightning_layerscope.study.stages.gains import Gains
from lightning_layerscope.study.stages.similarity import Mean

UNLEARNED = "†"


@dataclass(frozen=True)
class TaskRow:
    """One task; None where there is no such number. The names are the columns of ``tasks.csv``.

    Attributes:
        task: Name of the task.
        cluster: Of the task.
        seen: Whether the multi-task model was trained on it; None where that is not known.
        prompts: That were probed.
        prompts_available: That there are.
        train_rows: That models of the study were trained on.
        encoded: Mean over layers of CKA(base, control).
        encoded_low: Of its interval.
        encoded_high: Of its interval.
        gained: Mean over layers of CKA(tuned, control) - CKA(base, control).
        gained_low: Of its interval.
        gained_high: Of its interval.
        noise: Half the range of the gain over the controls' seeds.
        verdict: What the gain's interval says.
        drift_mean_cka: Mean over layers of CKA(tuned, base).
        loss_base: Held-out loss, nats per answer token.
        loss_tuned: Held-out loss, nats per answer token.
        loss_control: Held-out loss, mean over the controls.
        control_learned: Whether every control's loss is below the base model's beyond chance; None where unknown.
    """

    task: str
    cluster: str
    seen: bool | None
    prompts: int
    prompts_available: int
    train_rows: int
    encoded: float | None
    encoded_low: float | None
    encoded_high: float | None
    gained: float | None
    gained_low: float | None
    gained_high: float | None
    noise: float | None
    verdict: str | None
    drift_mean_cka: float | None
    loss_base: float | None
    loss_tuned: float | None
    loss_control: float | None
    control_learned: bool | None

    @property
    def reading(self) -> str:
        """What may be said of the task."""
        return "control did not learn" if self.control_learned is False else self.verdict or ""


def task_rows(results: StudyResults) -> list[TaskRow]:
    """One row per task."""
    return [_row(results, name) for name in results.names]


def _row(results: StudyResults, name: str) -> TaskRow:
    facts, probes, gains = results.comparisons[name], results.probes[name], results.comparisons[name].gains
    controls = [value for key in facts.controls if (value := facts.losses[key]) is not None]
    drift = results.profiles[DRIFT].matrix()[results.names.index(name)]
    unlearned = facts.not_learned if facts.controls else None
    encoded, gained = _interval_of(gains, "encoded"), _interval_of(gains, "gained")
    return TaskRow(
        task=name,
        cluster=probes.cluster,
        seen=name in results.trained if results.trained_here else None,
        prompts=probes.test_rows,
        prompts_available=probes.test_available,
        train_rows=results.train_rows[name],
        encoded=_number(encoded.value),
        encoded_low=_number(encoded.low),
        encoded_high=_number(encoded.high),
        gained=_number(gained.value),
        gained_low=_number(gained.low),
        gained_high=_number(gained.high),
        noise=gains.noise if gains else None,
        verdict=gains.verdict if gains else None,
        drift_mean_cka=_number(float(drift.mean())),
        loss_base=facts.losses["base"],
        loss_tuned=facts.losses[results.tuned.key],
        loss_control=sum(controls) / len(controls) if controls else None,
        control_learned=None if unlearned is None else not unlearned,
    )


def markdown(results: StudyResults) -> str:
    """The table in Markdown, clusters together, with notes below it."""
    rows = sorted(task_rows(results), key=lambda row: (row.seen is False, row.cluster, row.task))
    if not results.has_controls:
        head = ["task", "cluster", "n", "CKA with base", "loss base", "loss tuned"]
        body = [
            [row.task, row.cluster, str(row.prompts), *map(_text, (row.drift_mean_cka, row.loss_base, row.loss_tuned))]
            for row in rows
        ]
        return _grid(head, body)
    percent = f"{results.confidence:.0%}"
    head = ["task", "cluster", *(["seen"] if results.trained_here else []), "n"]
    head += [f"encoded in base [{percent}]", f"gained by tuning [{percent}]"]
    head += ["noise floor", "loss base / tuned / control", "reading"]
    body = [
        [
            row.task + (UNLEARNED if row.control_learned is False else ""),
            row.cluster,
            *(["yes" if row.seen else "no"] if results.trained_here else []),
            str(row.prompts),
            _interval(row.encoded, row.encoded_low, row.encoded_high, ""),
            _interval(row.gained, row.gained_low, row.gained_high, "+"),
            _text(row.noise),
            " / ".join(map(_text, (row.loss_base, row.loss_tuned, row.loss_control))),
            row.reading,
        ]
        for row in rows
    ]
    notes = [
        f"Encoded: mean over layers of CKA(base, control). Gained: mean over layers of CKA(tuned, control) - CKA(base, "
        f"control). In brackets: {percent} jackknife intervals over the task's prompts.",
        "Noise floor: half the range of 'gained' over controls of different seeds; empty with one seed per control.",
        f"{UNLEARNED} The control's held-out loss is not below the base model's beyond chance: similarity to it means "
        "nothing.",
    ]
    return _grid(head, body) + "\n" + "\n\n".join(notes) + "\n"


def _grid(head: list[str], body: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def _interval(value: float | None, low: float | None, high: float | None, sign: str) -> str:
    return "undefined" if value is None else f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def _interval_of(gains: Gains | None, name: str) -> Mean:
    if gains is None:
        return Mean(math.nan, math.nan, math.nan)
    return gains.encoded if name == "encoded" else gains.gained


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
