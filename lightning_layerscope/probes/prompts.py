"""Examples -> prompts that fit a token budget."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from lightning_layerscope.probes.digests import digest
from lightning_layerscope.probes.tokens import encode_prompts
from lightning_layerscope.tasks.task import Example
from lightning_layerscope.tasks.template import PromptTemplate


def source_digest(example: Example) -> str:
    """Digest of what the prompt is made from; the answer is no part of it."""
    return digest([example.instruction, example.input, example.messages])


def build_prompts(
    examples: Sequence[Example], template: PromptTemplate, tokenizer: Any, max_length: int
) -> tuple[list[str], list[tuple[int, ...]], int]:
    """Render and tokenise examples, cutting those above the budget.

    Returns:
        The texts, their token ids, and how many were cut.

    Raises:
        ValueError: When a prompt is empty, or too long although all that may be cut is.
    """
    empty = [example.id for example in examples if not (example.instruction + example.input).strip()]
    if empty:
        raise ValueError(f"empty prompts: {empty[:5]}{' ...' if len(empty) > 5 else ''} ({len(empty)} in all)")
    texts = [template.render(example, tokenizer) for example in examples]
    blank = [example.id for example, text in zip(examples, texts, strict=True) if not text.strip()]
    if blank:
        raise ValueError(f"the template {template.text!r} leaves nothing of {blank[:5]} ({len(blank)} in all)")
    ids = encode_prompts(texts, tokenizer, chat=bool(template.chat))
    truncated = 0
    for row, example in enumerate(examples):
        if len(ids[row]) > max_length:
            texts[row], ids[row] = _cut(example, template, tokenizer, max_length, len(ids[row]))
            truncated += 1
    without = [example.id for example, tokens in zip(examples, ids, strict=True) if not tokens]
    if without:
        raise ValueError(f"the tokenizer makes no token of the prompts {without[:5]} ({len(without)} in all)")
    return texts, ids, truncated


def _cut(
    example: Example, template: PromptTemplate, tokenizer: Any, max_length: int, length: int
) -> tuple[str, tuple[int, ...]]:
    """The longest form within the budget: without the oldest turns first, then with fewer words on the left.

    What goes is text, not tokens: so text and tokens agree, and the instruction and the template's end stay.
    """

    def fitting(shorter: Example) -> tuple[str, tuple[int, ...]] | None:
        text = template.render(shorter, tokenizer)
        [ids] = encode_prompts([text], tokenizer, chat=bool(template.chat))
        return (text, ids) if len(ids) <= max_length else None

    shortest = example
    if template.chat and example.messages:
        for shortest in _later_turns(example):
            if prompt := fitting(shortest):
                return prompt
    part, with_part = _cuttable(shortest, conversation=bool(template.chat))
    words = [match.start() for match in re.finditer(r"(?<=\s)\S", part)]
    # A last word that alone is too long, or a script without spaces: letters.
    letters = range((words[-1] if words else 0) + 1, len(part))
    for starts in (words, letters):
        if prompt := _first_fitting(starts, lambda start: fitting(with_part(part[start:]))):
            return prompt
    raise ValueError(
        f"the prompt of {example.id!r} has {length} tokens, and more than max_length={max_length} even with all of its "
        "input cut: the instruction and the template alone are too long; raise max_length"
    )


def _first_fitting(
    starts: Sequence[int], fitting: Callable[[int], tuple[str, tuple[int, ...]] | None]
) -> tuple[str, tuple[int, ...]] | None:
    """By bisection: what fits for one start fits for all later ones."""
    best, low, high = None, 0, len(starts) - 1
    while low <= high:
        middle = (low + high) // 2
        if result := fitting(starts[middle]):
            best, high = result, middle - 1
        else:
            low = middle + 1
    return best


def _later_turns(example: Example) -> Iterator[Example]:
    """The conversation from its second, third, ... user turn on; system messages stay."""
    system = tuple(turn for turn in example.messages if turn[0] == "system")
    spoken = [turn for turn in example.messages if turn[0] != "system"]
    for start, (role, _) in enumerate(spoken):
        if role == "user":
            yield replace(example, messages=system + tuple(spoken[start:]))


def _cuttable(example: Example, *, conversation: bool) -> tuple[str, Callable[[str], Example]]:
    """The part that may be cut, and how to put a shorter one in its place."""
    if conversation and example.messages:
        turns = list(example.messages)
        user = next((row for row, (role, _) in enumerate(turns) if role == "user"), len(turns) - 1)
        role, content = turns[user]

        def with_turn(text: str) -> Example:
            return replace(example, messages=(*turns[:user], (role, text), *turns[user + 1 :]))

        return content, with_turn
    # A plain prompt may stand in either field.
    field = "input" if example.input.strip() else "instruction"
    return getattr(example, field), lambda text: replace(example, **{field: text})
