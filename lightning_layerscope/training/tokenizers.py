"""A byte-level BPE tokenizer trained on texts, with a chat template."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_PAD, _BEGIN, _END, _USER, _ASSISTANT, _SYSTEM = "<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"
_SPECIAL = [_PAD, _BEGIN, _END, _USER, _ASSISTANT, _SYSTEM]
_BYTES = 256

# One turn per line: <|role|>, content, and the end token after what the assistant said.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str], *, vocab_size: int = 2048) -> Any:
    """Train a tokenizer; the same texts give the same one.

    Every text can be encoded (bytes are the alphabet) and decodes to itself. A prompt begins with the token ``<s>``;
    ``</s>`` ends an answer.

    Args:
        texts: What to train on.
        vocab_size: Tokens wanted, special tokens and the 256 bytes included; few texts give fewer.

    Returns:
        A ``transformers.PreTrainedTokenizerFast`` with a chat template for the roles user, assistant and system.

    Raises:
        ValueError: For a vocabulary too small to hold the bytes, or no text.
    """
    smallest = _BYTES + len(_SPECIAL)
    if vocab_size < smallest:
        raise ValueError(f"vocab_size must be at least {smallest} (bytes and special tokens), got {vocab_size}")
    texts = list(texts)
    if not any(text.strip() for text in texts):
        raise ValueError("a tokenizer needs texts to train on, got none")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=_SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{_BEGIN} $A", pair=f"{_BEGIN} $A $B", special_tokens=[(_BEGIN, backend.token_to_id(_BEGIN))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=_BEGIN,
        eos_token=_END,
        pad_token=_PAD,
        additional_special_tokens=[_USER, _ASSISTANT, _SYSTEM],
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
