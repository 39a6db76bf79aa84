"""Frozen weights in autocast's data type, cast once instead of for every product.

Autocast keeps its casts of trained weights for a pass and makes those of frozen ones anew each time. Under adapters
that is nearly all of a model, and on a CPU it costs as much as the products in bfloat16 do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary


class FrozenCasts(TorchFunctionMode):
    """A context in which linear layers under autocast on a CPU take casts of their frozen weights that are kept.

    The same values to the bit as without it. The casts, half of the weights' memory, live as long as this object; a
    weight that changed in place since is cast again.
    """

    def __init__(self) -> None:
        super().__init__()
        self._casts: Any = WeakTensorKeyDictionary()

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, a linear layer's with the cast that is kept."""
        if func is linear and len(args) > 1:
            args = (args[0], self._cast(args[1]), *args[2:])
        return func(*args, **(kwargs or {}))

    def _cast(self, weight: Tensor) -> Tensor:
        if weight.requires_grad or weight.dtype != torch.float32 or weight.device.type != "cpu":
            return weight
        if not torch.is_autocast_enabled("cpu") or weight.is_inference():  # such a weight tells no changes
            return weight
        state = weight._version, torch.get_autocast_dtype("cpu")
        kept: tuple[tuple[int, torch.dtype], Tensor] | None = self._casts.get(weight)
        if kept is None or kept[0] != state:
            with torch.no_grad():
                kept = self._casts[weight] = state, weight.to(state[1])
        return kept[1]
