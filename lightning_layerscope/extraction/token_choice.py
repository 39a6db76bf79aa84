"""Which token of a prompt stands for it: from the attention mask to an index or to weights."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

TokenChoice = str | Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Selection:
    """What is kept of hidden states ``(B, T, width)``: one position per row, or a weighted sum over positions.

    Attributes:
        index: ``(B,)`` positions, or None.
        weights: ``(B, T)`` float32 weights, or None.
    """

    index: Tensor | None = None
    weights: Tensor | None = None

    def to(self, device: torch.device) -> Selection:
        """The same selection on a device; the copy is asynchronous where the memory is pinned."""

        def move(tensor: Tensor | None) -> Tensor | None:
            if tensor is None or tensor.device == device:
                return tensor
            return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)

        return Selection(move(self.index), move(self.weights))

    def pool(self, hidden: Tensor, prefix: Tensor | None = None) -> Tensor:
        """Reduce ``(B, T, width)`` to ``(B, width)`` in the same dtype.

        Args:
            hidden: The states of the positions that went through the model.
            prefix: ``(P, width)`` states of positions that stand before all rows and are counted in ``weights``.
        """
        if self.index is not None:
            return hidden[torch.arange(len(hidden), device=hidden.device), self.index]
        assert self.weights is not None
        with torch.autocast(hidden.device.type, enabled=False):  # sums in float32, whatever the forward pass runs in
            start = 0 if prefix is None else len(prefix)
            weights = self.weights[:, start:]
            # Not a plain product: padded positions may hold NaN, and 0 * NaN is NaN.
            kept = torch.where((weights != 0)[..., None], hidden.float(), 0.0)
            pooled = torch.einsum("bt,btw->bw", weights, kept)
            if prefix is not None:
                pooled = pooled + self.weights[:, :start] @ prefix.float()
        return pooled.to(hidden.dtype)


def select_tokens(choice: TokenChoice, mask: Tensor, *, skip: int = 0) -> Selection:
    """Turn a token choice into a selection.

    Args:
        choice: ``"last_prompt"`` (the last token), ``"mean_prompt"`` (mean over the prompt's tokens), ``"first_<k>"``
            (mean over its first k tokens), or a callable from the mask ``(B, T)`` to weights ``(B, T)``.
        mask: ``(B, T)`` bool, True on the prompts' tokens.
        skip: Leading positions that will not be part of the hidden states (a shared prefix): an index is counted from
            there.

    Raises:
        ValueError: When the choice is unknown, or does not suit the mask.

    Example:
        >>> mask = torch.tensor([[True, True, True], [True, True, False]])
        >>> select_tokens("last_prompt", mask).index
        tensor([2, 1])
        >>> select_tokens("mean_prompt", mask).weights
        tensor([[0.3333, 0.3333, 0.3333], [0.5000, 0.5000, 0.0000]])
    """
    mask = mask.bool()
    if choice == "last_prompt":
        positions = torch.arange(mask.shape[1], device=mask.device)
        return Selection(index=torch.where(mask, positions, -1).amax(1) - skip)
    if choice == "mean_prompt":
        return Selection(weights=mask.float() / mask.sum(1, keepdim=True))
    if isinstance(choice, str):
        if not (match := re.fullmatch(r"first_([1-9]\d*)", choice)):
            raise ValueError(
                f'Unknown token choice {choice!r}: expected "last_prompt", "mean_prompt", "first_<k>" (such as '
                '"first_4"), '
                "or a callable from the mask (B, T) to weights (B, T)."
            )
        count = int(match[1])
        if int(mask.sum(1).min()) < count:
            raise ValueError(
                f"Token choice {choice!r}: a prompt has only {int(mask.sum(1).min())} tokens; choose fewer."
            )
        return Selection(weights=(mask & (mask.cumsum(1) <= count)).float() / count)
    weights = choice(mask)
    if not isinstance(weights, Tensor) or weights.shape != mask.shape:
        got = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
        raise ValueError(f"The token choice must give weights of the mask's shape {tuple(mask.shape)}, but gave {got}.")
    weights = weights.float()
    if bool(weights[~mask].any()) or not bool(weights.isfinite().all()) or bool((weights == 0).all(1).any()):
        raise ValueError(
            "The token choice must give finite weights: zero on padding, and not zero on all tokens of a prompt."
        )
    return Selection(weights=weights)
