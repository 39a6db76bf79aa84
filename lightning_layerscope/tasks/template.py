"""The prompt template: example -> prompt text, explicit and recorded."""

from __future__ import annotations

import string
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lightning_layerscope.tasks.task import Example

_FIELDS = ("instruction", "input")


@dataclass(frozen=True)
class PromptTemplate:
    r"""How an example becomes a prompt.

    Args:
        text: the prompt with the fields ``{instruction}`` and ``{input}`` (a brace is written twice, as in
            `str.format`). A line that consists of one field and nothing else is left out where that field is empty.
        chat: render through the tokenizer's own chat template: `text` without its trailing line break is then the
            user's turn, and the template adds what opens the answer. Examples that are conversations keep their turns.
        system: system message that chat prompts begin with, unless the conversation has its own.

    Raises:
        ValueError: for a field there is not, for no field at all, or a system message without `chat`.

    Example:
        >>> example = Example("Name the colour.", "a ripe tomato", "red", "colour/test/0")
        >>> PromptTemplate().render(example)
        'Name the colour.\na ripe tomato\n'
        >>> PromptTemplate("Q: {input} {instruction}\nA: ").render(example, with_output=True)
        'Q: a ripe tomato Name the colour.\nA: red'
        >>> PromptTemplate().render(Example("", "Hello", "", "plain/test/0"))
        'Hello\n'
    """

    text: str = "{instruction}\n{input}\n"
    chat: bool = False
    system: str | None = None

    def __post_init__(self) -> None:
        try:
            fields = [field for _, field, _, _ in string.Formatter().parse(self.text) if field is not None]
        except ValueError as error:
            raise ValueError(f"prompt template {self.text!r}: {error} (write a brace twice)") from error
        unknown = sorted(set(fields) - set(_FIELDS))
        if unknown or not fields:
            raise ValueError(
                f"prompt template {self.text!r} must hold {{instruction}} or {{input}} or both, and no other field; "
                f"got {unknown or 'none'}"
                + (" (the output follows the prompt by itself)" if "output" in unknown else "")
            )
        if self.system is not None and not self.chat:
            raise ValueError("a system message needs chat=True; without it, write the message into text")

    def render(self, example: Example, tokenizer: Any = None, *, with_output: bool = False) -> str:
        """The prompt of an example, as text.

        Args:
            example: the example.
            tokenizer: needed for chat templates.
            with_output: append the expected output: the text of a training example.

        Raises:
            ValueError: for chat without a tokenizer or a chat template, or when that template refuses the turns.
        """
        if not self.chat:
            return self._fill(example) + (example.output if with_output else "")
        turns = [{"role": role, "content": content} for role, content in self.turns(example)]
        if with_output:
            turns.append({"role": "assistant", "content": example.output})
        return _apply_chat_template(tokenizer, turns, add_generation_prompt=not with_output)

    def turns(self, example: Example) -> list[tuple[str, str]]:
        """The turns of a chat prompt as ``(role, content)``."""
        turns = list(example.messages) or [("user", self._fill(example).rstrip("\n"))]
        if self.system is not None and turns[0][0] != "system":
            turns.insert(0, ("system", self.system))
        return turns

    def describe(self) -> dict[str, Any]:
        """What a probe set records of its template, and what counts in its digest."""
        return {"text": self.text, "chat": self.chat, "system": self.system}

    def _fill(self, example: Example) -> str:
        values = {"instruction": example.instruction, "input": example.input}
        lines = self.text.split("\n")
        kept = [line for line in lines if not _is_empty_field(line, values)]
        # One pass over the template: braces inside the values are text.
        return "\n".join(kept).format_map(values)


def as_template(template: PromptTemplate | str | None) -> PromptTemplate:
    """A template as it is, one with that text, or the default."""
    if isinstance(template, PromptTemplate):
        return template
    return PromptTemplate() if template is None else PromptTemplate(template)


def _is_empty_field(line: str, values: dict[str, str]) -> bool:
    return any(line == f"{{{field}}}" and not value for field, value in values.items())


def _apply_chat_template(tokenizer: Any, turns: Iterable[dict[str, str]], *, add_generation_prompt: bool) -> str:
    if tokenizer is None:
        raise ValueError("a chat prompt needs the tokenizer, which has the chat template; pass tokenizer=")
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError(
            f"tokenizer {getattr(tokenizer, 'name_or_path', '') or type(tokenizer).__name__!r} has no chat template; "
            "use PromptTemplate(chat=False), or set tokenizer.chat_template"
        )
    try:
        text = tokenizer.apply_chat_template(list(turns), tokenize=False, add_generation_prompt=add_generation_prompt)
    except Exception as error:  # the template is a program of the model's author and may raise anything
        roles = [turn["role"] for turn in turns]
        raise ValueError(f"the tokenizer's chat template refused turns with the roles {roles}: {error}") from error
    return str(text)
