"""One row of any table -> an example: named columns, conversations, prompt and completion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_layerscope.tasks.conversation import conversation
from lightning_layerscope.tasks.task import Example, check_text

FIELDS = ("instruction", "input", "output", "split", "id", "task", "messages", "prompt", "completion")
DEFAULT_SPLIT = "train"
"""Where rows go whose source has no splits; the name that the datasets library gives them, too."""


class Columns:
    """Which column of a source holds which field.

    Args:
        columns: Field to column name, for fields whose column is named otherwise. Fields: ``FIELDS``.

    Raises:
        ValueError: For a field that there is not.
    """

    def __init__(self, columns: Mapping[str, str] | None = None) -> None:
        self.given = dict(columns or {})
        unknown = sorted(set(self.given) - set(FIELDS))
        if unknown:
            raise ValueError(f"columns= maps one of {list(FIELDS)} to the name of a column, but has the keys {unknown}")

    def name(self, field: str) -> str:
        """The column that holds ``field``."""
        return self.given.get(field, field)

    def has(self, row: Mapping[str, Any], field: str) -> bool:
        """Whether the row holds the field."""
        return self.name(field) in row

    def text(self, row: Mapping[str, Any], field: str, where: str) -> str:
        """The field as text: numbers are written out; null, NaN and a column that nobody named are ``""``.

        Raises:
            ValueError: When a column named in ``columns`` is missing, or holds neither text nor a number.
        """
        value = self._value(row, field, where)
        if value is None or (isinstance(value, float) and value != value):  # a data frame writes NaN for nothing
            return ""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(
                f"{where}: column {self.name(field)!r} (for {field!r}) must hold text, got {type(value).__name__}"
                + ("; name a column of chat messages with columns={'messages': ...}" if isinstance(value, list) else "")
            )
        text = str(value)
        check_text(text, f"{where}: column {self.name(field)!r}")
        return text

    def example(self, row: Mapping[str, Any], example_id: str, where: str) -> Example:
        """Make the example of one row; ``where`` names the row in messages.

        Raises:
            ValueError: When the row has no prompt, or a field that is no text.
        """
        own_id = self.text(row, "id", where) or example_id
        if self._holds_the_prompt(row, "messages", unless=("input",)):
            return conversation(self._value(row, "messages", where), own_id, where)
        if self._holds_the_prompt(row, "prompt", unless=("input", "instruction")):
            return self._prompt_and_completion(row, own_id, where)
        if not self.has(row, "instruction") and not self.has(row, "input"):
            raise ValueError(
                f"{where}: expected a column 'instruction' or 'input', 'prompt' or 'messages', got {sorted(row)}; "
                "say which columns hold them with columns={'input': ..., 'output': ...}"
            )
        instruction, given, output = (self.text(row, field, where) for field in ("instruction", "input", "output"))
        if not instruction.strip() and not given.strip():
            raise ValueError(f"{where}: instruction and input are both empty")
        return Example(instruction, given, output, own_id)

    def _holds_the_prompt(self, row: Mapping[str, Any], field: str, *, unless: tuple[str, ...]) -> bool:
        """Whether a row's prompt is in this field: somebody named it, or it is there and those others are not."""
        return field in self.given or (self.has(row, field) and not any(self.has(row, other) for other in unless))

    def _prompt_and_completion(self, row: Mapping[str, Any], example_id: str, where: str) -> Example:
        turns, completion = self._value(row, "prompt", where), self._value(row, "completion", where)
        if not isinstance(completion, list):
            completion = self.text(row, "completion", where) or self.text(row, "output", where) or None
        if isinstance(turns, list):
            return conversation(turns, example_id, where, completion=completion)
        prompt = self.text(row, "prompt", where)
        if not prompt.strip():
            raise ValueError(f"{where}: the prompt is empty")
        if isinstance(completion, list):
            raise ValueError(
                f"{where}: the prompt is text, the completion a list of messages; expected two of one kind"
            )
        return Example("", prompt, completion or "", example_id, whole=True)

    def _value(self, row: Mapping[str, Any], field: str, where: str) -> Any:
        column = self.name(field)
        if column not in row and field in self.given:
            raise ValueError(f"{where}: no column {column!r} (for {field!r}); it has {sorted(row)}")
        return row.get(column)
