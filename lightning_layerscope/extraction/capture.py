"""Hooks that keep one vector per prompt and layer, and live only as long as their with block."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_layerscope.extraction.layers import DecoderLayers
from lightning_layerscope.extraction.token_choice import Selection


class DeepestLayerReached(BaseException):
    """Ends a forward pass after the last wanted layer.

    Not an ``Exception``, so that no handler inside a model swallows it.
    """


class Capture:
    """Keep chosen hidden states of chosen layers while the block lasts.

    Layer ``l >= 1`` is what layer ``l`` puts out, before any final norm; layer 0 is what goes into layer 1.

    Example:
        >>> stack = find_layers(model)                                  # doctest: +SKIP
        >>> with Capture(stack, [4, 8]) as capture:                     # doctest: +SKIP
        ...     capture.select(select_tokens("last_prompt", mask), tokens=mask.shape[1])
        ...     model(input_ids=ids, attention_mask=mask)
        ...     vectors = capture.take()                                # (2, B, width)

    Args:
        stack: The layers, from :func:`find_layers`.
        layers: Which to keep, ascending.
        early_exit: Raise :class:`DeepestLayerReached` in the deepest wanted layer; the caller catches it.
        virtual_tokens: Positions that the model itself may put before the prompt (prompt tuning); they are skipped.
        on_error: Is given what goes wrong in a hook, which then does not reach the forward pass: for whoever watches a
            pass of somebody else's.
    """

    def __init__(
        self,
        stack: DecoderLayers,
        layers: Sequence[int],
        *,
        early_exit: bool = False,
        virtual_tokens: int = 0,
        on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        self.stack, self.layers = stack, tuple(layers)
        self.early_exit, self.virtual_tokens, self.on_error = early_exit, virtual_tokens, on_error
        self._handles: list[RemovableHandle] = []
        self._kept: dict[int, Tensor] = {}
        self._selection: Selection | None = None
        self._tokens = 0
        self._prefix: Mapping[int, Tensor] = {}

    def __enter__(self) -> Capture:
        try:
            for layer in self.layers:
                if layer == 0:
                    hook = self.stack.modules[0].register_forward_pre_hook(self._before_first, with_kwargs=True)
                else:
                    hook = self.stack.modules[layer - 1].register_forward_hook(self._hook_of(layer))
                self._handles.append(hook)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._kept.clear()
        self._selection, self._prefix = None, {}

    def select(self, selection: Selection | None, *, tokens: int, prefix: Mapping[int, Tensor] | None = None) -> None:
        """Say what the coming forward pass is to leave behind.

        Args:
            selection: Positions or weights per row; None keeps all states ``(B, T, width)``.
            tokens: T, the padded length of the rows that will go through the model.
            prefix: Per layer ``(P, width)`` states of a shared prefix that the weights count in.
        """
        self._kept.clear()
        self._selection, self._tokens, self._prefix = selection, tokens, prefix or {}

    def take(self) -> Tensor:
        """The kept states of the last forward pass, ``(layers, B, width)`` (``(layers, B, T, width)`` if whole).

        Raises:
            RuntimeError: When a wanted layer did not run, or the layers differ in width.
        """
        missing = [self._name(layer) for layer in self.layers if layer not in self._kept]
        if missing:
            raise RuntimeError(
                f"The forward pass did not run {', '.join(missing)}. Name the layers that the model does run with "
                "layer_modules=, or give a forward= that runs them."
            )
        kept = [self._kept[layer] for layer in self.layers]
        if len({tensor.shape for tensor in kept}) > 1:
            widths = ", ".join(f"{self._name(layer)}: {self._kept[layer].shape[-1]}" for layer in self.layers)
            raise RuntimeError(
                f"Layers of different width cannot be stacked ({widths}). Extract them in separate calls."
            )
        self._kept = {}
        return torch.stack([tensor.to(kept[0].device, non_blocking=True) for tensor in kept])

    def _hook_of(self, layer: int) -> Any:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            self._keep(layer, output)
            if self.early_exit and layer == self.layers[-1]:
                raise DeepestLayerReached

        return hook

    def _before_first(self, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        self._keep(0, arguments[0] if arguments else keywords.get("hidden_states"))
        if self.early_exit and self.layers == (0,):
            raise DeepestLayerReached

    def _keep(self, layer: int, output: Any) -> None:
        if self._tokens == 0:  # a forward pass that nobody asked about (the block's user warms something up)
            return
        try:
            self._kept[layer] = self._states_of(layer, output)
        except Exception as error:
            if self.on_error is None:
                raise
            self.on_error(error)

    def _states_of(self, layer: int, output: Any) -> Tensor:
        hidden = _tensor_of(output)
        expected = f"(prompts, {self._tokens} tokens, width)"
        if hidden is None or hidden.ndim != 3:
            got = type(output).__name__ if hidden is None else f"a tensor of shape {tuple(hidden.shape)}"
            raise RuntimeError(f"{self._name(layer)} gave {got}, expected hidden states {expected}.")
        if layer in self._kept:
            raise RuntimeError(
                f"{self._name(layer)} ran twice in one forward pass; its states would be ambiguous. "
                "Give a forward= that runs every named layer once."
            )
        if hidden.shape[1] == self._tokens + self.virtual_tokens:
            hidden = hidden[:, self.virtual_tokens :]
        elif hidden.shape[1] != self._tokens:
            raise RuntimeError(f"{self._name(layer)} gave states of shape {tuple(hidden.shape)}, expected {expected}.")
        hidden = hidden.detach()
        if self._selection is None:
            return hidden
        return self._selection.to(hidden.device).pool(hidden, self._prefix.get(layer))

    def _name(self, layer: int) -> str:
        return "the input of layer 1" if layer == 0 else f"layer {layer} ({self.stack.names[layer - 1]})"


def _tensor_of(output: Any) -> Tensor | None:
    """The hidden states in what a layer returns: a tensor, or the first entry of a tuple, list or mapping."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        output = tuple(output.values())
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], Tensor):
        return output[0]
    return None
