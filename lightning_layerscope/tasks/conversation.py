"""Chat messages -> example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_layerscope.tasks.task import Example, check_text

Turn = tuple[str, str]


def conversation(turns: Any, example_id: str, where: str, *, completion: Any = None) -> Example:
    """A list of ``{"role", "content"}`` -> example.

    Args:
        turns: The messages; without a completion the last one is the answer if the assistant speaks it.
        example_id: The id of the example.
        where: Names the row in messages.
        completion: The answer where it stands apart, as text or as a list of one assistant's message.

    Raises:
        ValueError: For turns of another form, parts that are no text, or none of a user before the answer.
    """
    said = _turns(turns, where, "messages")
    output = ""
    if isinstance(completion, str):
        output = completion
    elif completion is not None:
        answer = _turns(completion, where, "completion")
        if [role for role, _ in answer] != ["assistant"]:
            roles = [role for role, _ in answer]
            raise ValueError(f"{where}: a completion must be one turn of the assistant, got the roles {roles}")
        output = answer[0][1]
    elif said and said[-1][0] == "assistant":
        output = said.pop()[1]
    if not said or said[-1][0] in ("system", "assistant"):
        roles = [role for role, _ in said] + ["assistant"] * bool(output)
        raise ValueError(f"{where}: messages need a user turn before the answer, got roles {roles}")
    system = "\n".join(content for role, content in said if role == "system")
    spoken = [(role, content) for role, content in said if role != "system"]
    if len(spoken) == 1:
        plain = spoken[0][1]
    else:
        plain = "\n".join(f"{role.capitalize()}: {content}" for role, content in spoken)
    return Example(system, plain, output, example_id, tuple(said))


def _turns(turns: Any, where: str, what: str) -> list[Turn]:
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        raise ValueError(f"{where}: {what} must be a list of {{'role': text, 'content': text}}")
    return [_turn(turn, number, where, what) for number, turn in enumerate(turns, start=1)]


def _turn(turn: Mapping[str, Any], number: int, where: str, what: str) -> Turn:
    role, content = turn.get("role"), turn.get("content")
    if isinstance(content, list):
        content = "".join(_part(part, number, where, what) for part in content)
    if not isinstance(role, str) or not isinstance(content, str):
        raise ValueError(
            f"{where}: {what} must be a list of {{'role': text, 'content': text}}, but turn {number} has the role "
            f"{role!r} and {type(turn.get('content')).__name__} as its content"
        )
    check_text(content, f"{where}: turn {number} of {what}")
    return role, content


def _part(part: Any, number: int, where: str, what: str) -> str:
    """The text of a content part ``{"type": "text", "text": ...}``."""
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and part.get("type", "text") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    raise ValueError(
        f"{where}: turn {number} of {what} has a part of the type {kind!r}, and only text can be probed; leave such "
        "rows out"
    )
