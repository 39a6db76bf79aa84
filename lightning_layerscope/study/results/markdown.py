"""The results task by task, in Markdown that can be pasted into a paper."""

from __future__ import annotations

from lightning_layerscope.study.results.study_results import StudyResults
from lightning_layerscope.study.results.table import UNLEARNED, BesideRow, TaskRow, beside_rows, task_rows

_MARK = "†"


def markdown(results: StudyResults) -> str:
    """The table, clusters together, with notes below it; controls of other budgets in a second one."""
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
    head += ["noise floor", "loss base / tuned / control", "adjusted p", "reading"]
    body = [_cells(row, trained_here=results.trained_here) for row in rows]
    notes = [
        f"Encoded: mean over layers of CKA(base, control). Gained: mean over layers of CKA(tuned, control) - CKA(base, "
        f"control). In brackets: {percent} jackknife intervals over the task's prompts.",
        "Noise floor: half the range of 'gained' over controls of different seeds; empty with one seed per control.",
        "Adjusted p: of 'gained' against none, with the prompts' noise and that of the controls' seeds, pooled over "
        "tasks; adjusted for the number of tasks judged (Benjamini and Hochberg).",
        f"{_MARK} The control's held-out loss is not below the base model's beyond chance: similarity to it means "
        "nothing.",
        "No better than guessing: the control's held-out loss is not below that of answering by the frequency of the "
        "answers alone, beyond chance: it learned how answers look.",
        f"Under-trained: the control's held-out loss is above the tuned model's beyond the rows' chance ({percent}, "
        "paired), so that it is no specialist to judge by.",
    ]
    return _grid(head, body) + "\n" + "\n\n".join(notes) + "\n" + _beside(results)


def _cells(row: TaskRow, *, trained_here: bool) -> list[str]:
    return [
        row.task + (_MARK if row.verdict == UNLEARNED else ""),
        row.cluster,
        *(["yes" if row.seen else "no"] if trained_here else []),
        str(row.prompts),
        _interval(row.encoded, row.encoded_low, row.encoded_high, ""),
        _interval(row.gained, row.gained_low, row.gained_high, "+"),
        _text(row.noise),
        " / ".join(map(_text, (row.loss_base, row.loss_tuned, row.loss_control))),
        _text(row.adjusted_pvalue),
        row.reading,
    ]


def _beside(results: StudyResults) -> str:
    rows = beside_rows(results)
    if not rows:
        return ""
    head = ["task", "budget of these controls", "controls", "encoded in base", "gained by tuning", "noise floor"]
    return "\nControls of other budgets, beside these:\n\n" + _grid(
        [*head, "loss tuned / control", "adjusted p", "reading"], [_beside_cells(row) for row in rows]
    )


def _beside_cells(row: BesideRow) -> list[str]:
    return [
        row.task,
        row.control_budget.replace("_", " "),
        str(row.controls),
        _interval(row.encoded, row.encoded_low, row.encoded_high, ""),
        _interval(row.gained, row.gained_low, row.gained_high, "+"),
        _text(row.noise),
        " / ".join(map(_text, (row.loss_tuned, row.loss_control))),
        _text(row.adjusted_pvalue),
        row.verdict,
    ]


def _grid(head: list[str], body: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def _interval(value: float | None, low: float | None, high: float | None, sign: str) -> str:
    return "undefined" if value is None else f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
