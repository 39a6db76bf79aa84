"""The rows of a task that a study uses, on disk between stages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning_layerscope.json_files import read_json
from lightning_layerscope.tasks import Example, Task


def save_rows(task: Task, path: Path) -> None:
    """Write a task's rows, all splits it has."""
    splits = {split: [_plain(example) for example in examples] for split, examples in task.splits.items()}
    content = {"name": task.name, "cluster": task.cluster, "splits": splits}
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def load_rows(path: Path) -> Task:
    """Read what :func:`save_rows` wrote."""
    content: dict[str, Any] = read_json(path)
    splits = {
        split: tuple(
            Example(instruction, text, output, name, tuple((role, turn) for role, turn in messages), whole)
            for name, instruction, text, output, messages, whole in rows
        )
        for split, rows in content["splits"].items()
    }
    return Task(content["name"], content["cluster"], splits)


def digest_rows(examples: Iterable[Example]) -> str:
    """Digest of rows and their order: 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps([_plain(example) for example in examples]).encode()).hexdigest()


def _plain(example: Example) -> list[Any]:
    turns = [list(turn) for turn in example.messages]
    return [example.id, example.instruction, example.input, example.output, turns, example.whole]
