"""Rows of any table -> tasks: named columns, splits, ids, conversations. Both loaders share it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lightning_layerscope.tasks.task import UNCLUSTERED, Example, Task, TaskCollection

FIELDS = ("instruction", "input", "output", "split", "id", "task", "messages")
DEFAULT_SPLIT = "train"
"""Where rows go whose source has no splits; the name that the datasets library gives them, too."""


class Columns:
    """Which column of a source holds which field.

    Args:
        columns: field to column name, for fields whose column is named otherwise. Fields: `FIELDS`.

    Raises:
        ValueError: for a field that there is not.
    """

    def __init__(self, columns: Mapping[str, str] | None = None) -> None:
        self.given = dict(columns or {})
        unknown = sorted(set(self.given) - set(FIELDS))
        if unknown:
            raise ValueError(f"columns= maps one of {list(FIELDS)} to the name of a column, but has the keys {unknown}")

    def name(self, field: str) -> str:
        """The column that holds `field`."""
        return self.given.get(field, field)

    def has(self, row: Mapping[str, Any], field: str) -> bool:
        """Whether the row holds the field."""
        return self.name(field) in row

    def text(self, row: Mapping[str, Any], field: str, where: str) -> str:
        """The field as text: numbers are written out, null and a column that nobody named are ``""``.

        Raises:
            ValueError: when a column named in `columns` is missing, or holds neither text nor a number.
        """
        column = self.name(field)
        if column not in row:
            if field in self.given:
                raise ValueError(f"{where}: no column {column!r} (for {field!r}); it has {sorted(row)}")
            return ""
        value = row[column]
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(
                f"{where}: column {column!r} (for {field!r}) must hold text, got {type(value).__name__}"
                + ("; name a column of chat messages with columns={'messages': ...}" if isinstance(value, list) else "")
            )
        return str(value)

    def example(self, row: Mapping[str, Any], example_id: str, where: str) -> Example:
        """Make the example of one row; `where` names the row in messages.

        Raises:
            ValueError: when the row has no prompt, or a field that is no text.
        """
        own_id = self.text(row, "id", where) or example_id
        if "messages" in self.given or (self.has(row, "messages") and not self.has(row, "input")):
            if not self.has(row, "messages"):
                raise ValueError(f"{where}: no column {self.name('messages')!r} (for 'messages'); it has {sorted(row)}")
            return _conversation(row[self.name("messages")], own_id, where)
        if not self.has(row, "instruction") and not self.has(row, "input"):
            raise ValueError(
                f"{where}: expected a column 'instruction' or 'input', got {sorted(row)}; "
                "say which columns hold them with columns={'input': ..., 'output': ...}"
            )
        instruction, given, output = (self.text(row, field, where) for field in ("instruction", "input", "output"))
        if not instruction.strip() and not given.strip():
            raise ValueError(f"{where}: instruction and input are both empty")
        return Example(instruction, given, output, own_id)


def _conversation(turns: Any, example_id: str, where: str) -> Example:
    """A list of ``{"role", "content"}`` -> example: the last turn is the answer if the assistant speaks it."""
    ok = isinstance(turns, list) and all(
        isinstance(turn, Mapping) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)
        for turn in turns
    )
    if not ok:
        raise ValueError(f"{where}: messages must be a list of {{'role': text, 'content': text}}")
    said = [(turn["role"], turn["content"]) for turn in turns]
    output = said.pop()[1] if said and said[-1][0] == "assistant" else ""
    if not said or said[-1][0] in ("system", "assistant"):
        raise ValueError(
            f"{where}: messages need a user turn before the answer, got roles {[t['role'] for t in turns]}"
        )
    system = "\n".join(content for role, content in said if role == "system")
    spoken = [(role, content) for role, content in said if role != "system"]
    if len(spoken) == 1:
        plain = spoken[0][1]
    else:
        plain = "\n".join(f"{role.capitalize()}: {content}" for role, content in spoken)
    return Example(system, plain, output, example_id, tuple(said))


class TaskBuilder:
    """Collects examples by task and split, then makes the collection."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._examples: dict[str, dict[str, list[Example]]] = {}

    def add(self, task: str, split: str, example: Example) -> None:
        """Put one example where it belongs."""
        self._examples.setdefault(task, {}).setdefault(split, []).append(example)

    @property
    def names(self) -> list[str]:
        """The tasks seen so far."""
        return list(self._examples)

    def build(self, clusters: Mapping[str, str] | None = None, order: Iterable[str] | None = None) -> TaskCollection:
        """Make the collection; tasks that `clusters` does not name are `UNCLUSTERED`.

        Raises:
            ValueError: without any example, or when `clusters` names tasks that are not there.
        """
        tasks = [
            Task(name, UNCLUSTERED, {split: tuple(rows) for split, rows in self._examples[name].items()})
            for name in (order or self._examples)
        ]
        return TaskCollection(tasks, self.source).with_clusters(clusters or {})
