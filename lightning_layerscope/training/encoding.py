"""Examples -> token ids and labels: the prompt as the probes see it, then the answer, which alone is learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_layerscope.probes.answers import encode_answers, room_for_answer
from lightning_layerscope.probes.prompts import build_prompts
from lightning_layerscope.probes.tokens import encode_prompts
from lightning_layerscope.tasks import Example, PromptTemplate

IGNORED = -100
"""The label of tokens that are not learned: prompt and padding."""


@dataclass(frozen=True, slots=True)
class EncodedExample:
    """One training example in tokens.

    Attributes:
        task: Its task.
        id: The id of the example.
        prompt: Token ids of the prompt; the last one is what the probes' ``last_prompt`` reads.
        answer: Token ids of the answer, its end token included.
        cut_prompt: Whether the input lost words on its left to fit.
        cut_answer: Whether the answer lost its end to fit.
    """

    task: str
    id: str
    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    cut_prompt: bool = False
    cut_answer: bool = False

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


def encode_examples(
    task: str,
    examples: Sequence[Example],
    tokenizer: Any,
    *,
    template: PromptTemplate | None = None,
    max_length: int = 512,
) -> list[EncodedExample]:
    """Render and tokenise the examples of one task.

    Prompt and answer are tokenised apart, so that the prompt's tokens are those of a probe. Where both together are too
    long, the answer keeps up to half of the budget and the prompt loses words from the left of its input, as in
    ``ProbeSet.from_tasks``.

    Args:
        task: Name of the task.
        examples: With their outputs.
        tokenizer: A tokenizer of transformers.
        template: How an example becomes a prompt; default ``PromptTemplate()``.
        max_length: Tokens of prompt and answer together.

    Raises:
        ValueError: For a task without examples, examples without an output, an instruction that alone is too long, or
            a tokenizer without an end token (outside chat templates, which write their own).
    """
    template = (template or PromptTemplate()).settled(examples, tokenizer)
    if not examples:
        raise ValueError(f"task {task!r} has no examples to train on or to evaluate")
    if max_length < 8:
        raise ValueError(f"max_length must leave room for a prompt and an answer: expected 8 or more, got {max_length}")
    silent = [example.id for example in examples if not example.output.strip()]
    if silent:
        raise ValueError(
            f"task {task!r}: {len(silent)} of {len(examples)} examples have no output, e.g. {silent[:3]}: "
            "there is nothing to learn from them; leave them out, or name the column with columns={'output': ...}"
        )
    if not template.chat and tokenizer.eos_token_id is None:
        raise ValueError(
            "the tokenizer has no end token, so a model would never learn to stop; set tokenizer.eos_token"
        )
    prompts = [template.render(example, tokenizer) for example in examples]
    prompt_ids = encode_prompts(prompts, tokenizer, chat=bool(template.chat))
    answer_ids = encode_answers(examples, tokenizer, template)
    encoded = []
    for example, prompt, answer in zip(examples, prompt_ids, answer_ids, strict=True):
        if not prompt:
            raise ValueError(f"the prompt of {example.id!r} is empty: there is nothing that its answer could follow")
        cut_answer = cut_prompt = False
        if len(prompt) + len(answer) > max_length:
            keep = room_for_answer(len(prompt), max_length)
            cut_answer, answer = len(answer) > keep, answer[:keep]
            cut_prompt = len(prompt) + len(answer) > max_length
            if cut_prompt:
                try:
                    _, [prompt], _ = build_prompts([example], template, tokenizer, max_length - len(answer))
                except ValueError as error:
                    raise ValueError(
                        f"task {task!r}: {error} (of the {max_length} tokens of a training example, {len(answer)} are "
                        "the answer's)"
                    ) from error
        encoded.append(EncodedExample(task, example.id, tuple(prompt), answer, cut_prompt, cut_answer))
    return encoded


def collate(rows: Sequence[EncodedExample]) -> dict[str, Tensor]:
    """Pad on the right: ``input_ids``, ``attention_mask`` and ``labels``, each ``(rows, tokens)``.

    Padding is masked out, so any token will do that the model's embedding has. A tokenizer's padding token may have
    been added after the model was made, so a row is padded with the last token of its own.
    """
    width = max(map(len, rows))
    input_ids = torch.empty(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    labels = torch.full((len(rows), width), IGNORED, dtype=torch.long)
    for row, example in enumerate(rows):
        input_ids[row, : len(example)] = torch.tensor(example.prompt + example.answer)
        input_ids[row, len(example) :] = input_ids[row, len(example) - 1]
        mask[row, : len(example)] = 1
        labels[row, len(example.prompt) : len(example)] = torch.tensor(example.answer)
    return {"input_ids": input_ids, "attention_mask": mask, "labels": labels}
