"""The tokenizer's own chat template: apply it, and find out whether it looks at the clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

_TWO_MOMENTS = (datetime(2001, 2, 3, 4, 5, 6), datetime(2012, 11, 30, 17, 48, 59))
_CODES = "aAbBcdfHIjmMpSUwWxXyY"


def apply_chat_template(
    tokenizer: Any, turns: Iterable[Mapping[str, str]], *, add_generation_prompt: bool, chat_template: str | None = None
) -> str:
    """A conversation as the tokenizer's chat template writes it, or another one given here.

    Raises:
        ValueError: Without a tokenizer or a chat template, or when the template refuses the turns.
    """
    if tokenizer is None:
        raise ValueError("a chat prompt needs the tokenizer, which has the chat template; pass tokenizer=")
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError(
            f"tokenizer {getattr(tokenizer, 'name_or_path', '') or type(tokenizer).__name__!r} has no chat template; "
            "leave chat=True out, or set tokenizer.chat_template"
        )
    given = {} if chat_template is None else {"chat_template": chat_template}
    try:
        text = tokenizer.apply_chat_template(
            list(turns), tokenize=False, add_generation_prompt=add_generation_prompt, **given
        )
    except Exception as error:  # the template is a program of the model's author and may raise anything
        roles = [turn["role"] for turn in turns]
        raise ValueError(f"the tokenizer's chat template refused turns with the roles {roles}: {error}") from error
    return str(text)


def depends_on_clock(tokenizer: Any, turns: Iterable[Mapping[str, str]]) -> bool:
    """Whether a chat template writes the date or the time: whether two dates give two texts.

    Templates ask for the time with ``strftime_now``, a function of their surroundings. A macro of that name before the
    template takes its place; a tokenizer that takes no template, or has none in Jinja, is not asked.
    """
    turns = list(turns)
    try:
        template = tokenizer.get_chat_template()
        texts = {
            apply_chat_template(tokenizer, turns, add_generation_prompt=True, chat_template=_macro(moment) + template)
            for moment in _TWO_MOMENTS
        }
    except (AttributeError, TypeError, ValueError):
        return False
    return len(texts) > 1


def _macro(moment: datetime) -> str:
    """``strftime_now`` in Jinja, for one moment."""
    written = {f"%{code}": moment.strftime(f"%{code}") for code in _CODES}
    written |= {f"%-{code[1]}": text.lstrip("0") for code, text in written.items()}  # the form without leading zeros
    replacements = "".join(f"|replace({code!r}, {text!r})" for code, text in written.items())
    return "{% macro strftime_now(format) %}{{ format" + replacements + " }}{% endmacro %}"
