"""Does a tokenizer, or a model, fit the probes?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lightning_layerscope.probes.tokens import encode_prompts, tokenizer_name, vocabulary_digest

if TYPE_CHECKING:
    from torch import nn

    from lightning_layerscope.probes.base import BaseProbeSet
    from lightning_layerscope.probes.probe import Probe


def check_tokenizer(probes: BaseProbeSet, tokenizer: Any) -> None:
    """Raise ValueError unless the tokenizer makes the same tokens of the probes' texts."""
    for task, probe in probes.items():
        ids = encode_prompts(probe.texts, tokenizer, chat=bool(probes.template.get("chat")))
        if tuple(ids) != probe.input_ids or vocabulary_digest(ids, tokenizer) != probe.vocabulary:
            raise ValueError(
                f"the probes were tokenised with {probes.tokenizer_name!r}; {tokenizer_name(tokenizer)!r} makes other "
                f"tokens of task {task!r}: make the probes again with the model's tokenizer, or leave tokenizer= out"
            )


def check_model(probes: BaseProbeSet, model: Any) -> None:
    """Raise ValueError when a model cannot read the probes; a model without a token embedding is not checked."""
    from lightning_layerscope.compat.transformers import input_embedding, is_pretrained, learned_positions

    parts: list[nn.Module] = list(model.modules())
    embedding = next((layer for part in parts if (layer := input_embedding(part)) is not None), None)
    pretrained = next((part for part in parts if is_pretrained(part)), None)
    limit, table = learned_positions(pretrained, embedding)
    check_prompts(probes, embedding=embedding, positions=limit, table=table)


def check_prompts(
    probes: Mapping[str, Probe],
    *,
    embedding: nn.Module | None,
    positions: int | None,
    table: str,
    virtual_tokens: int = 0,
) -> None:
    """Refuse prompts that a model cannot take, before a device does so with an obscure error.

    Args:
        probes: The prompts by task.
        embedding: The model's token embedding, where it is known.
        positions: How many positions the model has, where their number is limited.
        table: The name of the table of positions.
        virtual_tokens: Positions that the model itself puts before every prompt.

    Raises:
        ValueError: For token ids beyond the embedding, or prompts beyond the positions.
    """
    rows = _rows(embedding)
    for task, probe in probes.items():
        for example, ids in zip(probe.example_ids, probe.input_ids, strict=True):
            if rows is not None and ids and not 0 <= min(ids) <= max(ids) < rows:
                raise ValueError(
                    f"Task {task!r}, example {example!r}: token id {max(ids)} lies outside the model's embedding of "
                    f"{rows} entries (ids 0 to {rows - 1}). The probes were tokenised for another model"
                    f"{_named(probes)}: use the model's own tokenizer, or call model.resize_token_embeddings."
                )
            if positions is not None and len(ids) + virtual_tokens > positions:
                raise ValueError(
                    f"Task {task!r}, example {example!r}: {len(ids)} tokens"
                    + (f" and {virtual_tokens} virtual ones" if virtual_tokens else "")
                    + f" exceed the model's {positions} positions ({table}). Build the probe set with "
                    f"max_length={positions - virtual_tokens} or less."
                )


def _rows(embedding: nn.Module | None) -> int | None:
    # The attribute before the weight: a sharded weight has other rows than the embedding.
    rows = getattr(embedding, "num_embeddings", None)
    if rows is None and (weight := getattr(embedding, "weight", None)) is not None:
        rows = weight.shape[0]
    return None if rows is None else int(rows)


def _named(probes: Any) -> str:
    name = getattr(probes, "tokenizer_name", "")
    return f" (with {name!r})" if name else ""
