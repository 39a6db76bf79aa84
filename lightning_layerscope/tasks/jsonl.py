"""Tasks from JSONL: a folder with one file per task, or one file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning_layerscope.tasks.rows import DEFAULT_SPLIT, Columns, TaskBuilder
from lightning_layerscope.tasks.task import TaskCollection


def load_jsonl(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    clusters: Mapping[str, str] | None = None,
) -> TaskCollection:
    """Load tasks from JSON lines.

    Args:
        path: a folder of ``*.jsonl``, one task per file and named after it, or one such file. Rows hold
            ``instruction``, ``input``, ``output`` and ``split``; instruction or input is enough, rows without a split
            belong to ``"train"``, and rows with a ``task`` belong to that one rather than to the file's. A folder may
            hold ``tasks.json``, ``{"<task>": {"cluster": "<cluster>", ...}, ...}``.
        columns: field to column, where columns are named otherwise: ``{"input": "question", "output": "answer"}``.
            Fields are instruction, input, output, split, id, task, and messages (a list of ``{"role", "content"}``).
        clusters: task to cluster; goes before ``tasks.json``.

    Returns:
        The tasks in the order of their file names.

    Raises:
        FileNotFoundError: when there is no such path, or no ``*.jsonl`` in the folder.
        ValueError: for a line that is no JSON object, a missing column, an empty prompt, ids that occur twice, or tasks
            that ``tasks.json`` does not name; the message says which file and line.
    """
    path = Path(path)
    mapping = Columns(columns)
    files = _files(path)
    builder = TaskBuilder(str(path))
    for file in files:
        for row_number, (line_number, row) in enumerate(_rows(file)):
            where = f"{file.name}, line {line_number}"
            task = mapping.text(row, "task", where) or file.stem
            split = mapping.text(row, "split", where) or DEFAULT_SPLIT
            builder.add(task, split, mapping.example(row, f"{task}/{split}/{row_number}", where))
    found = builder.names
    known = _clusters_file(path / "tasks.json") if path.is_dir() else {}
    # The file may describe more tasks than the folder has; it must not describe fewer.
    known = {name: cluster for name, cluster in known.items() if name in found} | dict(clusters or {})
    unnamed = sorted(set(found) - set(known))
    if unnamed and path.is_dir() and (path / "tasks.json").is_file():
        raise ValueError(f"{path / 'tasks.json'} names no cluster for {unnamed}; add them there, or to clusters=")
    return builder.build(known)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"no such file or folder of JSONL tasks: {path}")
    files = sorted(path.glob("*.jsonl"))
    if not files:
        raise FileNotFoundError(f"no *.jsonl file in {path}: expected one per task")
    empty = [file.name for file in files if not file.stat().st_size]
    if empty:
        raise ValueError(f"empty task files in {path}: {empty}")
    return files


def _rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number from 1 and content of every line that is not blank."""
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{file.name}, line {number}: not valid JSON ({error})") from error
            if not isinstance(row, dict):
                raise ValueError(f"{file.name}, line {number}: expected a JSON object, got {type(row).__name__}")
            yield number, row


def _clusters_file(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        return {task: str(entry["cluster"]) for task, entry in entries.items()}
    except (json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f'{file}: expected {{"<task>": {{"cluster": "<cluster>"}}, ...}} ({error!r})') from error
