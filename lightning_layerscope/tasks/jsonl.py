"""Tasks from JSONL: a folder with one file per task, or one file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning_layerscope.json_files import parse_json, read_json
from lightning_layerscope.tasks.builder import TaskBuilder
from lightning_layerscope.tasks.columns import DEFAULT_SPLIT, Columns
from lightning_layerscope.tasks.task import TaskCollection
from lightning_layerscope.tasks.text_lines import numbered_lines


def load_jsonl(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    clusters: Mapping[str, str] | None = None,
) -> TaskCollection:
    """Load tasks from JSON lines.

    Args:
        path: A folder of ``*.jsonl``, one task per file and named after it, or one such file. Rows hold
            ``instruction``, ``input``, ``output`` and ``split``; instruction or input is enough, rows without a split
            belong to ``"train"``, and rows with a ``task`` belong to that one rather than to the file's. Or they hold
            ``messages``, or ``prompt`` and ``completion`` (both text, or both lists of messages), as for TRL. A folder
            may hold ``tasks.json``, ``{"<task>": {"cluster": "<cluster>", ...}, ...}``; hidden files are left out.
            Text is UTF-8, or what a byte order mark says.
        columns: Field to column, where columns are named otherwise: ``{"input": "question", "output": "answer"}``.
            Fields are instruction, input, output, split, id, task, messages (a list of ``{"role", "content"}``, the
            content a text or a list of text parts), prompt and completion.
        clusters: Task to cluster; goes before ``tasks.json``.

    Returns:
        The tasks in the order of their file names.

    Raises:
        FileNotFoundError: When there is no such path, or no ``*.jsonl`` in the folder.
        ValueError: For a line that is no JSON object, a missing column, an empty prompt, ids that occur twice, or tasks
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
    known = _clusters_file(path / "tasks.json") if path.is_dir() else {}
    # The file may describe more tasks than the folder has; it must not describe fewer.
    known = {name: cluster for name, cluster in known.items() if name in builder.names} | dict(clusters or {})
    unnamed = sorted(set(builder.names) - set(known))
    if unnamed and path.is_dir() and (path / "tasks.json").is_file():
        raise ValueError(f"{path / 'tasks.json'} names no cluster for {unnamed}; add them there, or to clusters=")
    return builder.build(known)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"no such file or folder of JSONL tasks: {path}")
    # Hidden files are no tasks: macOS puts ._name.jsonl beside name.jsonl on many disks and in archives.
    files = sorted(file for file in path.glob("*.jsonl") if not file.name.startswith("."))
    if not files:
        raise FileNotFoundError(f"no *.jsonl file in {path}: expected one per task")
    empty = [file.name for file in files if not file.stat().st_size]
    if empty:
        raise ValueError(f"empty task files in {path}: {empty}")
    return files


def _rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number from 1 and content of every line that is not blank."""
    for number, line in numbered_lines(file):
        if not line.strip():
            continue
        row = parse_json(line, f"{file.name}, line {number}")
        if not isinstance(row, dict):
            raise ValueError(f"{file.name}, line {number}: expected a JSON object, got {type(row).__name__}")
        yield number, row


def _clusters_file(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    entries = read_json(file)
    ok = isinstance(entries, dict) and all(
        isinstance(entry, dict) and isinstance(entry.get("cluster"), str) for entry in entries.values()
    )
    if not ok:
        raise ValueError(f'{file}: expected {{"<task>": {{"cluster": "<cluster>"}}, ...}}, each cluster a text')
    return {task: entry["cluster"] for task, entry in entries.items()}
