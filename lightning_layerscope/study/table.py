"""The results task by task, as rows and as Markdown that can be pasted into a paper."""

from __future__ import annotations

import math
from typing import Any

from lightning_layerscope.study.gather import Findings

UNLEARNED = "†"


def task_rows(findings: Findings) -> list[dict[str, Any]]:
    """One row per task with plain values; None where there is none."""
    rows = []
    for name in findings.names:
        found, data = findings.tasks[name], findings.data[name]
        losses = found["losses"]
        row: dict[str, Any] = {
            "task": name,
            "cluster": data["cluster"],
            "seen": name in findings.trained if findings.trained_here else None,
            "prompts": data["test_rows"],
            "prompts_available": data["test_available"],
            "train_rows": data["train_rows"],
        }
        for kind in ("encoded", "gained"):
            for part in ("value", "low", "high"):
                row[f"{kind}_{part}" if part != "value" else kind] = _number(found.get(kind, {}).get(part))
        controls = [value for role, value in losses.items() if role.startswith("control@") and value is not None]
        drift = findings.profiles["drift"].matrix()[findings.names.index(name)]
        row |= {
            "noise": found.get("noise"),
            "verdict": found.get("verdict"),
            "drift_mean_cka": _number(float(drift.mean())),
            "loss_base": losses.get("base"),
            "loss_tuned": losses.get(findings.tuned),
            "loss_control": sum(controls) / len(controls) if controls else None,
            "control_learned": not found["not_learned"] if "not_learned" in found else None,
        }
        rows.append(row)
    return rows


def markdown(findings: Findings) -> str:
    """The table in Markdown, clusters together, with a mean line."""
    rows = sorted(task_rows(findings), key=lambda row: (row["seen"] is False, row["cluster"], row["task"]))
    if not findings.has_controls:
        head = ["task", "cluster", "n", "CKA with base", "loss base", "loss tuned"]
        body = [
            [
                row["task"],
                row["cluster"],
                str(row["prompts"]),
                *map(_text, (row["drift_mean_cka"], row["loss_base"], row["loss_tuned"])),
            ]
            for row in rows
        ]
        return _grid(head, body)
    percent = f"{next(iter(findings.tasks.values()))['confidence']:.0%}"
    head = ["task", "cluster", *(["seen"] if findings.trained_here else []), "n"]
    head += [f"encoded in base [{percent}]", f"gained by tuning [{percent}]"]
    head += ["noise floor", "loss base / tuned / control", "reading"]
    body = []
    for row in rows:
        mark = UNLEARNED if row["control_learned"] is False else ""
        body.append(
            [
                row["task"] + mark,
                row["cluster"],
                *(["yes" if row["seen"] else "no"] if findings.trained_here else []),
                str(row["prompts"]),
                _interval(row, "encoded", ""),
                _interval(row, "gained", "+"),
                _text(row["noise"]),
                " / ".join(_text(row[key]) for key in ("loss_base", "loss_tuned", "loss_control")),
                "control did not learn" if row["control_learned"] is False else row["verdict"],
            ]
        )
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


def _interval(row: dict[str, Any], kind: str, sign: str) -> str:
    if row[kind] is None:
        return "undefined"
    return f"{row[kind]:{sign}.3f} [{row[f'{kind}_low']:{sign}.3f}, {row[f'{kind}_high']:{sign}.3f}]"


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
