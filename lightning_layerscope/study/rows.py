"""The rows of a task that a study uses, on disk between stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning_layerscope.tasks import Example, Task, TaskCollection

ROWS, PROBES, FACTS = "rows.json", "probes.json", "facts.json"


def save_rows(task: Task, path: Path) -> None:
    """Write a task's rows, all splits it has."""
    content = {
        "name": task.name,
        "cluster": task.cluster,
        "splits": {
            split: [[e.id, e.instruction, e.input, e.output, [list(turn) for turn in e.messages]] for e in examples]
            for split, examples in task.splits.items()
        },
    }
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def load_rows(path: Path) -> Task:
    """Read what :func:`save_rows` wrote."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    splits = {
        split: tuple(
            Example(instruction, text, output, name, tuple((role, turn) for role, turn in messages))
            for name, instruction, text, output, messages in rows
        )
        for split, rows in content["splits"].items()
    }
    return Task(content["name"], content["cluster"], splits)


def load_collection(folders: list[Path]) -> TaskCollection:
    """The tasks of several data stages."""
    return TaskCollection([load_rows(folder / ROWS) for folder in folders], source="study")
