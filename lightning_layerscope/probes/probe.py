"""One task's fixed prompts."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from lightning_layerscope.probes.digests import digest


@dataclass(frozen=True)
class Probe:
    r"""One task's fixed prompts; row i of every field, and of the hidden states, is the same prompt.

    Attributes:
        task: The task's name.
        cluster: The task's cluster.
        example_ids: Ids of the examples, unique within the task.
        texts: The rendered prompts, after cutting.
        input_ids: Token ids per prompt, neither padded nor empty.
        truncated: How many of the prompts were cut to the token budget.
        available: How many examples the task had in the split.
        sources: Per prompt a digest of its example before rendering and cutting; by default that of its text.
        vocabulary: Digest of the tokens that the ids stand for; ``""`` where unknown.
        last_tokens: Per prompt its last token as text, e.g. ``"\n"``; empty where unknown.
        answers: Per prompt the token ids of its reference answer, empty where it has none; ``()`` where no prompt of
            the task has one. No part of a digest: hidden states do not depend on them.

    Raises:
        ValueError: For fields of unequal length, no or empty prompts, ids that occur twice, or impossible counts.
    """

    task: str
    cluster: str
    example_ids: tuple[str, ...]
    texts: tuple[str, ...]
    input_ids: tuple[tuple[int, ...], ...]
    truncated: int = 0
    available: int = -1
    sources: tuple[str, ...] = ()
    vocabulary: str = ""
    last_tokens: tuple[str, ...] = field(default=(), compare=False)
    answers: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        if not self.sources:
            object.__setattr__(self, "sources", tuple(digest(text) for text in self.texts))
        if self.available < 0:
            object.__setattr__(self, "available", len(self.texts))
        lengths = {field: len(getattr(self, field)) for field in ("example_ids", "texts", "input_ids", "sources")}
        lengths |= {name: len(given) for name in ("last_tokens", "answers") if (given := getattr(self, name))}
        if len(set(lengths.values())) > 1 or not self.texts:
            raise ValueError(f"probe {self.task!r} needs as many ids, texts and token lists, and some, got {lengths}")
        if len(set(self.example_ids)) < len(self.example_ids):
            twice = sorted({name for name in self.example_ids if self.example_ids.count(name) > 1})
            raise ValueError(f"probe {self.task!r} has example ids more than once: {twice[:3]}")
        empty = [name for name, ids in zip(self.example_ids, self.input_ids, strict=True) if not ids]
        if empty:
            raise ValueError(f"probe {self.task!r} has prompts without a token: {empty[:3]}")
        if not 0 <= self.truncated <= len(self.texts) <= self.available:
            raise ValueError(
                f"probe {self.task!r}: expected truncated <= prompts <= available, got "
                f"{self.truncated}, {len(self.texts)}, {self.available}"
            )

    def __len__(self) -> int:
        """Number of prompts."""
        return len(self.texts)

    def first(self, count: int) -> Probe:
        """The first prompts alone, at most ``count``; of those that were cut, at most as many as are left."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        rows: dict[str, Any] = {name: value[:count] for name, value in values.items() if isinstance(value, tuple)}
        return replace(self, **rows, truncated=min(self.truncated, count))

    @property
    def num_tokens(self) -> int:
        """Tokens of all prompts together, without padding."""
        return sum(map(len, self.input_ids))

    @property
    def repeated(self) -> int:
        """How many prompts are a copy of an earlier one: the source holds them twice, or cutting made them equal."""
        return len(self.texts) - len(set(self.input_ids))
