"""Examples -> prompts that fit a token budget."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_layerscope.probes.digests import digest
from lightning_layerscope.tasks.task import Example
from lightning_layerscope.tasks.template import PromptTemplate


def load_tokenizer(tokenizer: Any) -> Any:
    """A tokenizer as it is, or the one of a folder or a name on the hub.

    Raises:
        TypeError: when it is neither a name nor a tokenizer of the transformers library.
    """
    if isinstance(tokenizer, str | Path):
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(str(tokenizer))
    if not callable(tokenizer) or not hasattr(tokenizer, "convert_ids_to_tokens"):
        raise TypeError(
            "tokenizer must be a transformers tokenizer, its folder or its name on the hub, "
            f"got {type(tokenizer).__name__}"
        )
    return tokenizer


def tokenizer_name(tokenizer: Any) -> str:
    """What a tokenizer is called: where it was loaded from, or its class."""
    return str(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__)


def encode(texts: Sequence[str], tokenizer: Any, *, chat: bool) -> list[tuple[int, ...]]:
    """Token ids of each text, neither padded nor truncated, whatever the tokenizer's settings.

    Special tokens are added as the tokenizer does; a chat template has written them already.
    """
    encoded = tokenizer(
        list(texts),
        add_special_tokens=not chat,
        padding=False,
        truncation=False,
        return_attention_mask=False,
        verbose=False,  # its advice on lengths: ours are cut afterwards
    )
    return [tuple(int(token) for token in ids) for ids in encoded["input_ids"]]


def source_digest(example: Example) -> str:
    """Digest of what the prompt is made from; the answer is no part of it."""
    return digest([example.instruction, example.input, example.messages])


def vocabulary_digest(input_ids: Sequence[Sequence[int]], tokenizer: Any) -> str:
    """Digest of the tokens in use: tokenizers that differ elsewhere (an added padding token) are the same here."""
    used = sorted({token for ids in input_ids for token in ids})
    return digest(
        [[token, str(piece)] for token, piece in zip(used, tokenizer.convert_ids_to_tokens(used), strict=True)]
    )


def build_prompts(
    examples: Sequence[Example], template: PromptTemplate, tokenizer: Any, max_length: int
) -> tuple[list[str], list[tuple[int, ...]], int]:
    """Render and tokenise examples, cutting those above the budget.

    Returns:
        The texts, their token ids, and how many were cut.

    Raises:
        ValueError: when a prompt is empty, or too long although all that may be cut is.
    """
    empty = [example.id for example in examples if not (example.instruction + example.input).strip()]
    if empty:
        raise ValueError(f"empty prompts: {empty[:5]}{' ...' if len(empty) > 5 else ''} ({len(empty)} in all)")
    texts = [template.render(example, tokenizer) for example in examples]
    blank = [example.id for example, text in zip(examples, texts, strict=True) if not text.strip()]
    if blank:
        raise ValueError(f"the template {template.text!r} leaves nothing of {blank[:5]} ({len(blank)} in all)")
    ids = encode(texts, tokenizer, chat=template.chat)
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
        [ids] = encode([text], tokenizer, chat=template.chat)
        return (text, ids) if len(ids) <= max_length else None

    shortest = example
    if template.chat and example.messages:
        for shortest in _later_turns(example):
            if found := fitting(shortest):
                return found
    part, with_part = _cuttable(shortest, conversation=template.chat)
    words = [match.start() for match in re.finditer(r"(?<=\s)\S", part)]
    # A last word that alone is too long, or a script without spaces: letters.
    letters = range((words[-1] if words else 0) + 1, len(part))
    for starts in (words, letters):
        if found := _first_fitting(starts, lambda start: fitting(with_part(part[start:]))):
            return found
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
        if found := fitting(starts[middle]):
            best, high = found, middle - 1
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
