"""Texts -> token ids, for probes and training alike: one place, so that both read the same tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_layerscope.compat.huggingface_hub import require_loadable
from lightning_layerscope.probes.digests import digest


def load_tokenizer(tokenizer: Any) -> Any:
    """A tokenizer as it is, or the one of a folder or a name on the hub.

    Raises:
        FileNotFoundError: When there is nothing of that name.
        TypeError: When it is neither a name nor a tokenizer of the transformers library.
    """
    if isinstance(tokenizer, str | Path):
        if not Path(tokenizer).exists():
            require_loadable(str(tokenizer), "model")
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


def encode_prompts(texts: Sequence[str], tokenizer: Any, *, chat: bool) -> list[tuple[int, ...]]:
    """Token ids of prompts that an answer follows, neither padded nor truncated, whatever the tokenizer's settings.

    Special tokens are added as the tokenizer does, but for an end token behind the text: an answer never follows one.
    A chat template has written its special tokens already.
    """
    if chat:
        return encode_bare(texts, tokenizer)
    rows = _encode(texts, tokenizer, add_special_tokens=True)
    return [ids[:-1] if len(ids) > 1 else ids for ids in rows] if closes_texts(tokenizer) else rows


def encode_bare(texts: Sequence[str], tokenizer: Any) -> list[tuple[int, ...]]:
    """Token ids of texts without any that the tokenizer adds by itself."""
    return _encode(texts, tokenizer, add_special_tokens=False)


def closes_texts(tokenizer: Any) -> bool:
    """Whether a tokenizer puts its end token behind every text, as with ``add_eos_token=True``.

    A separator that is the end token as well (RoBERTa) does not count: such models read whole texts, and nothing
    follows them.
    """
    end = getattr(tokenizer, "eos_token_id", None)
    if end is None or end == getattr(tokenizer, "sep_token_id", None):
        return False
    [closed] = _encode(["a"], tokenizer, add_special_tokens=True)
    [bare] = _encode(["a"], tokenizer, add_special_tokens=False)
    return closed[-1:] == (end,) and bare[-1:] != (end,)


def _encode(texts: Sequence[str], tokenizer: Any, *, add_special_tokens: bool) -> list[tuple[int, ...]]:
    encoded = tokenizer(
        list(texts),
        add_special_tokens=add_special_tokens,
        padding=False,
        truncation=False,
        return_attention_mask=False,
        verbose=False,  # its advice on lengths: ours are cut afterwards
    )
    return [tuple(int(token) for token in ids) for ids in encoded["input_ids"]]


def last_tokens(input_ids: Sequence[Sequence[int]], tokenizer: Any) -> tuple[str, ...]:
    """Of each prompt its last token as text; the token's own name where it stands for no text of its own."""
    pieces = {token: str(tokenizer.decode([token])) for token in {ids[-1] for ids in input_ids}}
    return tuple(pieces[ids[-1]] or str(tokenizer.convert_ids_to_tokens(ids[-1])) for ids in input_ids)


def vocabulary_digest(input_ids: Sequence[Sequence[int]], tokenizer: Any) -> str:
    """Digest of the tokens in use: tokenizers that differ elsewhere (an added padding token) are the same here."""
    used = sorted({token for ids in input_ids for token in ids})
    return digest(
        [[token, str(piece)] for token, piece in zip(used, tokenizer.convert_ids_to_tokens(used), strict=True)]
    )
