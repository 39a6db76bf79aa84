"""The prompt template: example -> prompt text, explicit and recorded."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lightning_layerscope.tasks.chat_template import apply_chat_template
from lightning_layerscope.tasks.task import Example

DEFAULT_TEXT = "{instruction}\n{input}\n"
_WHOLE_TEXT = "{input}"
_FIELDS = ("instruction", "input")


@dataclass(frozen=True)
class PromptTemplate:
    r"""How an example becomes a prompt.

    Args:
        text: The prompt with the fields ``{instruction}`` and ``{input}`` (a brace is written twice, as in
            ``str.format``). A line that consists of one field and nothing else is left out where that field is empty.
            With the default text, rows of prompt and completion give their prompt to the letter.
        chat: Render through the tokenizer's own chat template: ``text`` without its trailing line break is then the
            user's turn, and the template adds what opens the answer. Examples that are conversations keep their turns.
            Default None: conversations are rendered so where the tokenizer has a chat template, all else is text;
            with a ``text`` of one's own, all is text.
        system: System message that chat prompts begin with, unless the conversation has its own.

    Raises:
        ValueError: For a field there is not, for no field at all, or a system message without ``chat=True``.

    Example:
        >>> example = Example("Name the colour.", "a ripe tomato", "red", "colour/test/0")
        >>> PromptTemplate().render(example)
        'Name the colour.\na ripe tomato\n'
        >>> PromptTemplate("Q: {input} {instruction}\nA: ").render(example, with_output=True)
        'Q: a ripe tomato Name the colour.\nA: red'
        >>> PromptTemplate().render(Example("", "Hello", "", "plain/test/0"))
        'Hello\n'
    """

    text: str = DEFAULT_TEXT
    chat: bool | None = None
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
        if self.chat is None and self.text != DEFAULT_TEXT:
            object.__setattr__(self, "chat", False)

    def settled(self, examples: Iterable[Example], tokenizer: Any = None) -> PromptTemplate:
        """The template for these examples, with nothing left to be found out from them.

        Args:
            examples: All that are to be rendered alike.
            tokenizer: What it can decides whether conversations are rendered as chats.

        Raises:
            ValueError: For examples of several kinds that would be rendered in different ways.
        """
        if self.chat or self.text != DEFAULT_TEXT:
            return self
        chat_template = bool(getattr(tokenizer, "chat_template", None))
        chats = self.chat is None and chat_template
        kinds = {_kind(example, chats): example.id for example in examples}
        if len(kinds) > 1:
            raise ValueError(
                f"the rows are of several kinds ({', '.join(f'{kind}, e.g. {name!r}' for kind, name in kinds.items())})"
                ", which make prompts of several forms; probe them apart, or say which form all take: chat=True, or a "
                "text of your own with template="
            )
        kind = next(iter(kinds), _ROWS)
        return replace(self, text=_WHOLE_TEXT if kind == _WHOLE else self.text, chat=kind == _CONVERSATION)

    def render(self, example: Example, tokenizer: Any = None, *, with_output: bool = False) -> str:
        """The prompt of an example, as text.

        Args:
            example: The example.
            tokenizer: Needed for chat templates.
            with_output: Append the expected output: the text of a training example.

        Raises:
            ValueError: For chat without a tokenizer or a chat template, or when that template refuses the turns.
        """
        settled = self.settled([example], tokenizer)
        if not settled.chat:
            return settled._fill(example) + (example.output if with_output else "")
        turns = self.turns(example)
        if with_output:
            turns.append({"role": "assistant", "content": example.output})
        return apply_chat_template(tokenizer, turns, add_generation_prompt=not with_output)

    def turns(self, example: Example) -> list[dict[str, str]]:
        """The turns of a chat prompt, as chat templates take them: ``{"role": ..., "content": ...}``."""
        turns = list(example.messages) or [("user", self._fill(example).rstrip("\n"))]
        if self.system is not None and turns[0][0] != "system":
            turns.insert(0, ("system", self.system))
        return [{"role": role, "content": content} for role, content in turns]

    def describe(self) -> dict[str, Any]:
        """What a probe set records of its template, and what counts in its digest."""
        return {"text": self.text, "chat": bool(self.chat), "system": self.system}

    def _fill(self, example: Example) -> str:
        values = {"instruction": example.instruction, "input": example.input}
        lines = self.text.split("\n")
        kept = [line for line in lines if not _is_empty_field(line, values)]
        # One pass over the template: braces inside the values are text.
        return "\n".join(kept).format_map(values)


def as_template(template: PromptTemplate | str | Mapping[str, Any] | None) -> PromptTemplate:
    """A template as it is, with that text, of a configuration's ``text``, ``chat`` and ``system``, or the default.

    Raises:
        ValueError: For another key, or a value that no template takes.
    """
    if isinstance(template, PromptTemplate):
        return template
    if template is None or isinstance(template, str):
        return PromptTemplate() if template is None else PromptTemplate(template, chat=False)
    kinds = {"text": str, "chat": bool, "system": str}
    unknown = sorted(set(template) - set(kinds))
    if unknown:
        raise ValueError(f"a template has text, chat and system, but has the keys {unknown}")
    given = {key: value for key, value in template.items() if value is not None}
    wrong = {key: value for key, value in given.items() if not isinstance(value, kinds[key])}
    if wrong:
        raise ValueError(f"a template's text and system are text, chat is true or false, got {wrong}")
    return PromptTemplate(**given)


_CONVERSATION, _WHOLE, _ROWS = "conversations", "prompts with completions", "rows of instruction and input"


def _kind(example: Example, chats: bool) -> str:
    if example.messages and chats:
        return _CONVERSATION
    return _WHOLE if example.whole else _ROWS


def _is_empty_field(line: str, values: dict[str, str]) -> bool:
    return any(line == f"{{{field}}}" and not value for field, value in values.items())
