"""Rows of a batch in one sequence: their common beginning once, nothing padded, gradients included.

Rows of one task begin with its instruction, which is often half of their tokens. Several rows are laid one behind the
other after one copy of what they all begin with; each token has the position that it has in its row, and sees the
beginning and its own row alone. The loss and its gradients are those of whole rows but for rounding; whether a model
keeps to mask and positions is tried on two rows per model and class of lengths.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from lightning_layerscope.compat.peft import puts_something_before
from lightning_layerscope.compat.transformers import attention_implementation, is_pretrained, text_config
from lightning_layerscope.compat.transformers_rope import length_ropes
from lightning_layerscope.extraction.exactness import EquivalenceCache, deviation, tolerance
from lightning_layerscope.extraction.guard import without_autocast_cache
from lightning_layerscope.training.encoding import IGNORED
from lightning_layerscope.training.head import (
    Observe,
    TokenLosses,
    inner_model,
    reachable_head,
    run_at,
    spread,
    wanted_places,
)

# Whether packed rows have the states of rows alone.
_EXACT = EquivalenceCache()
# So many tokens to attend to cost a token as much as a small model's matrices do.
_ATTENDED = 2048
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


class PackedBatch(NamedTuple):
    """A batch laid out anew; its wanted positions are in the order of the rows.

    Attributes:
        inputs: What the model's forward takes.
        targets: ``(sequences, tokens)``.
        before: The targets of the batch as it was, ``(rows, tokens)``.
    """

    inputs: dict[str, Tensor]
    targets: Tensor
    before: Tensor

    def unpacked(self, losses: TokenLosses) -> TokenLosses:
        """Losses of this layout, where they stand in the batch as it was."""
        here = wanted_places(self.targets)
        loss, right = (each.flatten().index_select(0, here) for each in losses)
        return spread((loss, right), wanted_places(self.before), self.before)

    def observed(self, observe: Observe) -> Observe:
        """The same observer, told the places of the batch as it was."""
        here, there = wanted_places(self.targets), wanted_places(self.before)
        return lambda logits, places: observe(logits, there[torch.searchsorted(here, places)])


class _Called(NamedTuple):
    call: nn.Module
    language_model: nn.Module
    device: torch.device


def packed(model: nn.Module, inputs: Mapping[str, Tensor], targets: Tensor) -> PackedBatch | None:
    """The batch in fewer tokens; None where that saves nothing, or is not exact for this model.

    Args:
        model: A causal language model.
        inputs: ``input_ids`` and ``attention_mask``, padded on the right.
        targets: ``(rows, tokens)``, see :func:`~lightning_layerscope.training.head.token_losses`.
    """
    # Elsewhere a batch takes as long as its passes, whose attention is fastest without a mask of our own.
    if targets.device.type != "cpu" or set(inputs) != {"input_ids", "attention_mask"}:
        return None
    lengths, common = _lengths(targets), _common_length(inputs, targets)
    sequences = _sequences(lengths, common, targets.shape[1])
    if sequences is None or not _possible(model):
        return None
    called = _Called(model, inner_model(model), targets.device)
    longest = max(lengths)
    if (exact := _EXACT.get(called, longest)) is None:
        exact = _is_exact(called, inputs, targets)
        _EXACT.set(called, exact, longest)
    return _pack(called, inputs, targets, sequences) if exact else None


def _lengths(targets: Tensor) -> list[int]:
    """Tokens of each row up to the last that predicts a wanted one; what follows plays no part."""
    columns = torch.arange(1, targets.shape[1] + 1)
    return [max(1, int(length)) for length in ((targets != IGNORED) * columns).amax(dim=1)]


def _common_length(inputs: Mapping[str, Tensor], targets: Tensor) -> int:
    """How many leading tokens all rows have, without a position that predicts a wanted token."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    alike = (ids == ids[:1]).all(dim=0) & mask.bool().all(dim=0) & (targets == IGNORED).all(dim=0)
    return int(alike.int().cumprod(dim=0).sum())


def _sequences(lengths: list[int], common: int, width: int) -> list[list[int]] | None:
    """Which rows stand in one sequence, in their order, so that it costs least; None: each alone, padded as it was."""
    cheapest, chosen = _cost(len(lengths), width), None
    for count in range(1, len(lengths) + 1):
        bounds = [round(len(lengths) * part / count) for part in range(count + 1)]
        groups = [list(range(first, last)) for first, last in pairwise(bounds)]
        tokens = max(common + sum(lengths[row] - common for row in group) for group in groups)
        if (cost := _cost(count, tokens)) < cheapest:
            cheapest, chosen = cost, groups
    return chosen


def _cost(sequences: int, tokens: int) -> float:
    """In tokens through the layers' matrices."""
    return sequences * tokens * (1 + tokens / _ATTENDED)


def _pack(called: _Called, inputs: Mapping[str, Tensor], targets: Tensor, sequences: list[list[int]]) -> PackedBatch:
    lengths, common = _lengths(targets), _common_length(inputs, targets)
    ids, kept, positions, rows = [], [], [], []
    for group in sequences:
        pieces = [(group[0], slice(0, common))] + [(row, slice(common, lengths[row])) for row in group]
        ids.append(torch.cat([inputs["input_ids"][piece] for piece in pieces]))
        kept.append(torch.cat([targets[piece] for piece in pieces]))
        positions.append(torch.cat([torch.arange(part.start, part.stop) for _, part in pieces]))
        rows.append(torch.cat([torch.full((p.stop - p.start,), n) for n, (_, p) in enumerate(pieces)]))
    token, row = pad_sequence(ids, batch_first=True, padding_value=int(ids[0][0])), _padded(rows, -1)
    behind = torch.arange(token.shape[1])
    # The beginning is piece 0, which every row sees; padding sees itself, as a token must see something.
    seen = (row[:, :, None] == row[:, None, :]) | (row[:, None, :] == 0)
    seen = (seen & (behind[:, None] >= behind[None, :])).unsqueeze(1)
    mask = seen if attention_implementation(called.language_model) == "sdpa" else _additive(seen, called.call)
    arranged = {"input_ids": token, "attention_mask": mask, "position_ids": _padded(positions, 0)}
    return PackedBatch(arranged, _padded(kept, IGNORED), targets)


def _padded(parts: list[Tensor], value: int) -> Tensor:
    return pad_sequence(parts, batch_first=True, padding_value=value)


def _additive(seen: Tensor, model: nn.Module) -> Tensor:
    dtype = next(p.dtype for p in model.parameters() if p.is_floating_point())
    return torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)


def _possible(model: nn.Module) -> bool:
    """Whether it may be tried, in the model's present mode: noise must not be shared by rows."""
    inner: Any = inner_model(model)
    if not is_pretrained(inner) or puts_something_before(model) or reachable_head(model) is None:
        return False
    return not (model.training and _drops_out(model, text_config(inner)))


def _drops_out(model: nn.Module, config: Any) -> bool:
    # Attention's own stands in the configuration alone.
    named = (value for name, value in vars(config).items() if name.endswith(("dropout", "pdrop")))
    if any(isinstance(value, (int, float)) and value > 0 for value in named):
        return True
    return any(isinstance(part, _DROPOUTS) and part.p > 0 and part.training for part in model.modules())


def _is_exact(called: _Called, inputs: Mapping[str, Tensor], targets: Tensor) -> bool:
    """Whether the longest row has the same states behind another one as alone."""
    inner = called.language_model
    if (
        attention_implementation(inner) not in ("sdpa", "eager")
        or "position_ids" not in inspect.signature(inner.forward).parameters
        or length_ropes(called.call) is not None
    ):
        return False
    lengths = _lengths(targets)
    longest = max(range(len(lengths)), key=lambda row: lengths[row])
    both = [0 if longest else len(lengths) - 1, longest]
    pair, pair_targets = {name: value[both] for name, value in inputs.items()}, targets[both]
    alone = {name: value[longest:][:1, : lengths[longest]] for name, value in inputs.items()}
    try:
        with torch.no_grad(), without_autocast_cache():
            expected = _states(called.call, alone, targets[longest:][:1, : lengths[longest]])
            together = _pack(called, pair, pair_targets, [[0, 1]])
            found = _states(called.call, together.inputs, together.targets)
    except torch.OutOfMemoryError:
        raise
    except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return False  # a model that makes masks or positions of its own
    if expected is None or found is None:
        return False
    # States that are not finite are no matter of packing: the loss tells of them.
    found = found[len(found) - len(expected) :]
    return deviation(found, expected) <= tolerance(called) or not bool(expected.isfinite().all())


def _states(model: nn.Module, inputs: Mapping[str, Tensor], targets: Tensor) -> Tensor | None:
    """What goes into the head where a token is wanted."""
    head = reachable_head(model)
    assert head is not None
    return run_at(model, head, inputs, wanted_places(targets), targets, 0)[0].hidden
