"""Digests: what makes two probe sets the same, and the names of token choices."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_layerscope.probes.probe import Probe

TokenChoice = str | Callable[[Any], Any]
"""``"last_prompt"``, ``"mean_prompt"``, ``"first_<k>"``, or mask ``(batch, tokens)`` -> weights of the same shape."""


def digest(content: Any) -> str:
    """SHA-256 of anything JSON can hold, as 64 hexadecimal digits; the same on every machine and Python version."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def examples_digest(probes: Iterable[Probe]) -> str:
    """Says that two sets probe the same prompts, whatever the model and its tokenizer.

    Over task names, example ids and the examples' own text, before template and cutting; the tasks' order is no part.
    """
    return digest(["examples", sorted([p.task, p.example_ids, p.sources] for p in probes)])


def tokens_digest(probes: Iterable[Probe], template: dict[str, Any], token_choice: str) -> str:
    """Says that stored hidden states fit row by row: the same token sequences, pooled in the same way."""
    rows = sorted([p.task, p.example_ids, p.sources, p.texts, p.input_ids, p.vocabulary] for p in probes)
    return digest(["tokens", rows, template, token_choice])


def token_choice_name(choice: TokenChoice) -> str:
    """The name of a token choice in records and digests; a callable's is its module and qualified name.

    Raises:
        ValueError: For a text that is no token choice.
        TypeError: For neither text nor callable.

    Example:
        >>> token_choice_name("first_4")
        'first_4'
    """
    if isinstance(choice, str):
        if choice in ("last_prompt", "mean_prompt") or re.fullmatch(r"first_[1-9]\d*", choice):
            return choice
        raise ValueError(
            "token_choice must be 'last_prompt', 'mean_prompt', 'first_<k>' (e.g. 'first_4') or a callable, "
            f"got {choice!r}"
        )
    if not callable(choice):
        raise TypeError(f"token_choice must be a text or a callable (mask -> weights), got {type(choice).__name__}")
    kind = choice if hasattr(choice, "__qualname__") else type(choice)
    return f"{kind.__module__}.{kind.__qualname__}"
