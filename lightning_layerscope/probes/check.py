"""Does a tokenizer, or a model, fit the probes?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lightning_layerscope.probes.tokens import encode_prompts, tokenizer_name, vocabulary_digest

if TYPE_CHECKING:
    from lightning_layerscope.probes.base import BaseProbeSet


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
    task, largest = max(
        ((task, max(map(max, probe.input_ids))) for task, probe in probes.items()), key=lambda found: found[1]
    )
    rows = _embedding_rows(model)
    if rows is not None and largest >= rows:
        raise ValueError(
            f"the probes of task {task!r} hold token id {largest}, but the model's input embedding has {rows} rows "
            f"(ids 0 to {rows - 1}): they were tokenised with {probes.tokenizer_name!r}, which knows "
            f"{probes.vocab_size} tokens; make the probes with the model's own tokenizer, or call "
            "model.resize_token_embeddings"
        )
    longest = max(len(ids) for probe in probes.values() for ids in probe.input_ids)
    for name, positions in _position_tables(model):
        if longest > positions:
            raise ValueError(
                f"the longest probe has {longest} tokens, but the model has positions for {positions} ({name}); "
                f"make the probes with max_length={positions}"
            )


def _embedding_rows(model: Any) -> int | None:
    for part in [model, *getattr(model, "modules", tuple)()]:
        getter = getattr(part, "get_input_embeddings", None)
        if getter is None:
            continue
        try:
            embedding = getter()
        except (AttributeError, NotImplementedError):
            continue  # the model has no such thing; a part of it may
        # The attribute before the weight: a sharded weight has other rows than the embedding.
        rows = getattr(embedding, "num_embeddings", None)
        if rows is None and getattr(embedding, "weight", None) is not None:
            rows = embedding.weight.shape[0]
        if rows is not None:
            return int(rows)
    return None


def _position_tables(model: Any) -> Iterator[tuple[str, int]]:
    """Learned tables of absolute positions; rotary and relative positions have none."""
    config = getattr(model, "config", None)
    stated = getattr(config, "max_position_embeddings", None)
    for name, part in getattr(model, "named_modules", tuple)():
        last = name.rsplit(".", 1)[-1]
        if hasattr(part, "num_embeddings") and last in ("wpe", "position_embeddings", "embed_positions"):
            rows = int(part.num_embeddings)
            # Some tables hold a few rows in front that no token uses.
            yield name, min(rows, stated) if isinstance(stated, int) else rows
