"""Losses at the positions that predict an answer's token, with logits there alone.

With a large vocabulary the logits of a prompt's positions cost more than the layers, and none of them is wanted. A hook
hands the model's own head the chosen positions of the whole batch, one after the other, so that all that stands between
head and loss (soft-capping, scale, bias) is done by the model itself. Where even these logits are too many, they are
made in pieces, by the head and by what the model was seen to do with the head's output for the first few of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from lightning_layerscope.compat.torch import is_compiled
from lightning_layerscope.extraction.sharding import sharded
from lightning_layerscope.training.encoding import IGNORED

# Elements of the logits that may stand in memory at a time; in float32 128 MiB on a CPU and 1 GiB elsewhere.
_MOST_CPU, _MOST_ACCELERATOR = 2**25, 2**28
# Positions by which is seen what a model does with its head's output.
_SEEN = 4

Finish = Callable[[Tensor], Tensor]
"""What a model does with the output of its head: ``(..., vocabulary)`` -> the same."""


class TokenLosses(NamedTuple):
    """Of every position, 0 and True where it predicts nothing that is wanted.

    Attributes:
        loss: ``(rows, tokens)`` float32, cross-entropy in nats.
        right: ``(rows, tokens)`` bool, whether the wanted token is the most likely one.
    """

    loss: Tensor
    right: Tensor


Observe = Callable[[Tensor, Tensor], None]
"""Is shown logits ``(positions, vocabulary)``, and ``(positions,)``, where in the flattened batch they stand."""


def token_losses(
    model: nn.Module,
    inputs: Mapping[str, Tensor],
    targets: Tensor,
    *,
    most_logits: int | None = None,
    observe: Observe | None = None,
) -> TokenLosses:
    """Run a batch and give the loss of every wanted token.

    Args:
        model: A language model of transformers, with or without adapters.
        inputs: What its forward takes.
        targets: ``(rows, tokens)``: the token that each position of the model's output must predict, ``-100`` where
            none is wanted.
        most_logits: Elements of the logits that may be in memory at a time; by default 2^25 on a CPU and 2^28
            elsewhere. More are made in pieces.
        observe: Shown the logits of every wanted position once, piece by piece; without gradients alone, since pieces
            are made a second time for those.
    """
    head = reachable_head(model)
    places = wanted_places(targets)
    wanted = targets.flatten().index_select(0, places)

    def judged(logits: Tensor) -> TokenLosses:
        if observe is not None:
            observe(logits, places)
        return spread(_losses(logits, wanted), places, targets)

    if head is None:
        return judged(_all_logits(model, inputs, targets, places))
    most = most_positions(model, most_logits)
    whole = len(places) <= most or sharded(model)
    shown = len(places) if whole else min(_SEEN, len(places))
    seen, logits = run_at(model, head, inputs, places, targets, shown)
    if seen.calls != 1 or seen.hidden is None or logits.shape[:-1] != (1, shown):  # not a model as this knows them
        return judged(_all_logits(model, inputs, targets, places))
    if not whole:
        finish = next((f for f in _finishes(model) if torch.equal(f(seen.output).float(), logits.float())), None)
        if finish is not None:
            chunks = zip(*(torch.split(each, most) for each in (seen.hidden, wanted, places)), strict=True)
            return spread(_in_pieces(head, finish, chunks, seen.hidden, observe), places, targets)
        _, logits = run_at(model, head, inputs, places, targets, len(places))
    return judged(logits[0])


def reachable_head(model: nn.Module) -> nn.Module | None:
    """The module that makes logits of hidden states, by the model's public word; None where it has none to give.

    Compiled models keep theirs: their code was made without our hook.
    """
    if any(is_compiled(part) for part in model.modules()):
        return None
    get = getattr(inner_model(model), "get_output_embeddings", None)
    head = get() if get is not None else None
    return head if isinstance(head, nn.Module) else None


def wanted_places(targets: Tensor) -> Tensor:
    """Where in the flattened batch a token must be predicted."""
    return (targets.flatten() != IGNORED).nonzero().squeeze(1)


def most_positions(model: nn.Module, most_logits: int | None = None) -> int:
    """How many positions' logits may be in memory at a time, at least 1."""
    if most_logits is None:
        most_logits = _MOST_CPU if next(model.parameters()).device.type == "cpu" else _MOST_ACCELERATOR
    head: Any = reachable_head(model)
    vocabulary = getattr(head, "out_features", None) or _config(model).vocab_size
    return max(1, most_logits // int(vocabulary))


@dataclass
class Seen:
    """What a pass showed of the head.

    Attributes:
        calls: How often it was called.
        hidden: What would have gone into it at the chosen places, ``(places, width)``; None where that cannot be told.
        output: What came out of it.
    """

    calls: int = 0
    hidden: Tensor | None = None
    output: Any = None


def run_at(
    model: Any, head: nn.Module, inputs: Mapping[str, Tensor], places: Tensor, targets: Tensor, shown: int
) -> tuple[Seen, Tensor]:
    """One pass in which the head sees the chosen places (the first ``shown`` of them) as one row.

    Args:
        model: See :func:`token_losses`.
        head: Its head.
        inputs: What its forward takes.
        places: Of the flattened batch.
        targets: ``(rows, tokens)``, of which the shape is wanted alone.
        shown: How many places.

    Returns:
        What was seen, and the model's logits.
    """
    seen = Seen()
    rows, tokens = targets.shape

    def take(module: nn.Module, arguments: tuple[Any, ...]) -> Any:
        seen.calls += 1
        hidden = arguments[0] if arguments else None
        if not isinstance(hidden, Tensor) or hidden.ndim != 3 or len(hidden) != rows or hidden.shape[1] < tokens:
            return None
        # Prompt tuning puts positions of its own in front.
        seen.hidden = hidden[:, -tokens:].flatten(0, 1).index_select(0, places)
        return (seen.hidden[:shown].unsqueeze(0), *arguments[1:])

    def keep(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        seen.output = output

    handles = [head.register_forward_pre_hook(take), head.register_forward_hook(keep)]
    try:
        logits = model(**inputs, use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()
    return seen, logits


def _all_logits(model: Any, inputs: Mapping[str, Tensor], targets: Tensor, places: Tensor) -> Tensor:
    """Logits from the first wanted position of the batch on, where the model can do that, and of these the wanted."""
    tokens = targets.shape[1]
    first = int((targets != IGNORED).any(dim=0).int().argmax())
    options = {}
    if "logits_to_keep" in inspect.signature(inner_model(model).forward).parameters:
        options["logits_to_keep"] = tokens - first
    logits: Tensor = model(**inputs, **options, use_cache=False).logits[:, first - tokens :]
    columns = places % tokens - first
    return logits.flatten(0, 1).index_select(0, places // tokens * (tokens - first) + columns)


def _in_pieces(
    head: nn.Module,
    finish: Finish,
    chunks: Iterable[tuple[Tensor, Tensor, Tensor]],
    hidden: Tensor,
    observe: Observe | None,
) -> tuple[Tensor, Tensor]:
    """Losses of some positions at a time, whose logits are gone before the next are made.

    Args:
        head: Makes logits.
        finish: What the model does with them.
        chunks: Hidden states, wanted tokens and places of so many positions at a time.
        hidden: The states of all.
        observe: See :func:`token_losses`.
    """

    def piece(states: Tensor, tokens: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        logits = finish(head(states))
        if observe is not None:
            observe(logits, places)
        return _losses(logits, tokens)

    if torch.is_grad_enabled():
        # Weights of the head want gradients that are known only afterwards, when the logits must be made once more;
        # half precision wants the loss scaled before anything is derived from it.
        later = any(p.requires_grad for p in head.parameters()) or in_float16(hidden)
        piece = partial(checkpoint, piece, use_reentrant=False) if later else partial(_DerivedAtOnce.apply, piece)
    losses, right = zip(*(piece(*chunk) for chunk in chunks), strict=True)
    return torch.cat(losses), torch.cat(right)


class _DerivedAtOnce(torch.autograd.Function):
    """Losses of positions with their derivatives: a position's loss depends on its own hidden state alone."""

    @staticmethod
    def forward(ctx: Any, piece: Callable[..., Any], states: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            inputs = states.detach().requires_grad_()
            losses, right = piece(inputs, *rest)
            (derivatives,) = torch.autograd.grad(losses.sum(), inputs)
        ctx.save_for_backward(derivatives)
        ctx.mark_non_differentiable(right)
        return losses.detach(), right

    @staticmethod
    def backward(ctx: Any, gradients: Tensor, _: Any) -> tuple[None, Tensor, None, None]:
        (derivatives,) = ctx.saved_tensors
        return None, gradients.unsqueeze(1).to(derivatives.dtype) * derivatives, None, None


def in_float16(tensor: Tensor) -> bool:
    """Whether what is computed from a tensor now is float16: small gradients are lost unless the loss is scaled."""
    kind = tensor.device.type
    cast = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.float16
    return cast or tensor.dtype == torch.float16


def _losses(logits: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of ``(positions, vocabulary)`` logits, and whether the wanted token is the likeliest."""
    logits = logits.float()  # half precision's own search for the likeliest is slow on a CPU
    losses = cross_entropy(logits, wanted, reduction="none")
    return losses, logits.detach().argmax(dim=-1) == wanted


def spread(values: tuple[Tensor, Tensor], places: Tensor, targets: Tensor) -> TokenLosses:
    """Losses and rightness of wanted positions, back to where they stood.

    Every place once, so that sums over a row are the same to the bit on every device.
    """
    losses, right = values
    empty = losses.new_zeros(targets.numel())
    spread = empty.index_copy(0, places, losses), torch.ones_like(empty, dtype=torch.bool).index_copy(0, places, right)
    return TokenLosses(*(each.view_as(targets) for each in spread))


def _finishes(model: nn.Module) -> Iterator[Finish]:
    """What models are known to do with the head's output, in the very order of operations."""
    config = _config(model)
    yield lambda logits: logits
    if cap := getattr(config, "final_logit_softcapping", None):
        yield lambda logits: torch.tanh(logits / cap) * cap
    if scale := getattr(config, "logit_scale", None):
        yield lambda logits: logits * scale
    if scaling := getattr(config, "logits_scaling", None):
        yield lambda logits: logits / scaling


def inner_model(model: Any) -> Any:
    """The model itself, without the wrapper of its adapters."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _config(model: nn.Module) -> Any:
    return inner_model(model).config.get_text_config()
