"""What must hold before the first forward pass, and messages that say what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightning_layerscope.compat.peft import unmerging_layers
from lightning_layerscope.compat.transformers import learned_positions, rescales_when_evaluated
from lightning_layerscope.extraction.target import Target
from lightning_layerscope.probes.fit import check_prompts
from lightning_layerscope.wording import count

if TYPE_CHECKING:
    from lightning_layerscope.probes import ProbeSet


def choose_layers(layers: Sequence[int] | str | None, num_layers: int, *, embeddings: bool = False) -> tuple[int, ...]:
    """The wanted layers, ascending.

    Args:
        layers: Numbers, or ``"all"``, ``"last"``, or a list with ranges; None is all.
        num_layers: L.
        embeddings: Add layer 0.

    Raises:
        ValueError: When a layer does not exist, or none is left.

    Example:
        >>> choose_layers("1,4-6", 8)
        (1, 4, 5, 6)
    """
    if layers is None or layers == "all":
        chosen = set(range(1, num_layers + 1))
    elif layers == "last":
        chosen = {num_layers}
    elif isinstance(layers, str):
        if not re.fullmatch(r"\s*\d+(-\d+)?(\s*,\s*\d+(-\d+)?)*\s*", layers):
            raise ValueError(
                f'layers={layers!r} is not understood: expected "all", "last", or numbers and ranges like "1,4,8-12".'
            )
        chosen = set()
        for part in layers.split(","):
            first, _, last = part.strip().partition("-")
            chosen.update(range(int(first), int(last or first) + 1))
    else:
        chosen = set(layers)
    if embeddings:
        chosen.add(0)
    wrong = sorted(layer for layer in chosen if not 0 <= layer <= num_layers)
    if wrong or not chosen:
        what = f"got {wrong}" if wrong else "none is chosen"
        raise ValueError(
            f"layers must lie in 0..{num_layers} (0: embeddings; 1..{num_layers}: the model's layers), but {what}."
        )
    return tuple(sorted(chosen))


def check_probes(probes: ProbeSet, target: Target) -> None:
    """Refuse prompts that the model cannot take, before a device does so with an obscure error.

    Raises:
        ValueError: For token ids beyond the embedding, prompts beyond a table of positions, a token choice that does
            not suit the layers, or a model that a forward pass would change.
    """
    if not any(len(probe.input_ids) for probe in probes.values()):
        raise ValueError("The probe set has no prompts.")
    if target.decoder_start is not None and probes.token_choice != "last_prompt":
        raise ValueError(
            f"The layers of a decoder behind an encoder are read at the decoder's first position, which "
            f"token_choice={probes.token_choice!r} does not describe; use token_choice='last_prompt', or name "
            "the encoder's layers."
        )
    if target.language_model is not None and rescales_when_evaluated(target.language_model):
        raise ValueError(
            f"{type(target.language_model).__name__} rescales its weights when first evaluated, which a run in "
            "training must not see. Set model.config.rescale_every = 0 (it only guards float16 against overflow)."
        )
    if unmerging := unmerging_layers(target.root):
        raise ValueError(
            f"{count(len(unmerging), 'layer has', 'layers have')} an adapter that is merged into the weights and "
            f"switched off (the first: {unmerging[0]}): a forward pass would take it out, which changes the weights by "
            "rounding. Call model.unmerge_adapter() first."
        )
    encoder_decoder = target.decoder_start is not None
    limit, table = (None, "") if encoder_decoder else learned_positions(target.language_model, target.stack.embedding)
    check_prompts(
        probes, embedding=target.stack.embedding, positions=limit, table=table, virtual_tokens=target.virtual_tokens
    )
