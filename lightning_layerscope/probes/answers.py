"""Reference answers -> tokens that follow a prompt's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning_layerscope.probes.tokens import encode_bare
from lightning_layerscope.tasks.task import Example
from lightning_layerscope.tasks.template import PromptTemplate


def encode_answers(examples: Sequence[Example], tokenizer: Any, template: PromptTemplate) -> list[tuple[int, ...]]:
    """Token ids of the examples' outputs, each as it stands behind its prompt, its end included.

    Args:
        examples: With or without outputs; the answer of one without is its end token alone.
        tokenizer: A tokenizer of transformers; one without an end token closes no answer.
        template: Settled. A chat template writes the ends by itself.
    """
    if not template.chat:
        end = tokenizer.eos_token_id
        closing = () if end is None else (int(end),)
        return [(*ids, *closing) for ids in encode_bare([example.output for example in examples], tokenizer)]
    texts = []
    for example in examples:
        prompt = template.render(example, tokenizer)
        whole = template.render(example, tokenizer, with_output=True)
        # Some chat templates open the answer differently when it is there already (an empty "thinking" part, say).
        texts.append(whole[len(prompt) :] if whole.startswith(prompt) else example.output + (tokenizer.eos_token or ""))
    return encode_bare(texts, tokenizer)


def room_for_answer(prompt: int, max_length: int) -> int:
    """Tokens that an answer keeps behind a prompt of so many: what is left of the budget, and half of it at least."""
    return max(max_length // 2, max_length - prompt)


def probe_answers(
    examples: Sequence[Example],
    prompts: Sequence[Sequence[int]],
    tokenizer: Any,
    template: PromptTemplate,
    max_length: int,
) -> tuple[tuple[int, ...], ...]:
    """Reference answers of a task's probes, empty where an example has none; nothing where no example has one.

    Args:
        examples: In order of the prompts.
        prompts: Token ids.
        tokenizer: A tokenizer of transformers.
        template: Settled.
        max_length: Token budget of a prompt; longer answers lose their end as in training.
    """
    if not any(example.output.strip() for example in examples):
        return ()
    answers = encode_answers(examples, tokenizer, template)
    return tuple(
        ids[: room_for_answer(len(prompt), max_length)] if example.output.strip() else ()
        for example, prompt, ids in zip(examples, prompts, answers, strict=True)
    )
