"""Run a tuned model with some of its layers as they were in the base model, reusing what comes before them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from lightning_layerscope.compat.peft import is_tuner_layer, merged_layers, switched_off
from lightning_layerscope.extraction import DecoderLayers, find_layers
from lightning_layerscope.wording import count

Call = Callable[..., Any]


class RestorableLayers:
    """The layers of a tuned model, each with what it was in the base model.

    No weight is moved: for the length of a pass a layer's ``forward`` is another function, the base model's layer or
    its own with the adapters off, and a layer whose output is known gives it without computing. So the tuned model is
    bitwise what it was afterwards, and the masks and positions that the model makes for its layers stay its own.

    Args:
        tuned: The tuned model, with adapters or all its own weights.
        base: The base model of the same architecture; None for the tuned model with its adapters off.

    Raises:
        ValueError: Without a base and without adapters inside the layers, with merged adapters (switching them off
            would change weights in place), for a base with adapters, or for layers of other kinds, numbers or shapes.
    """

    def __init__(self, tuned: nn.Module, base: nn.Module | None = None) -> None:
        self.layers: DecoderLayers = find_layers(tuned)
        if base is None:
            self._base = [_without_adapters(layer) for layer in self.layers.modules]
            if not _has_adapters(self.layers):
                raise ValueError(
                    f"{type(tuned).__name__} has no adapters in its layers: give the base model as well, to put whole "
                    "layers back."
                )
        else:
            others = find_layers(base)
            check_alike(others, self.layers)
            self._base = [layer.__call__ for layer in others.modules]

    def __len__(self) -> int:
        return self.layers.num_layers

    @contextlib.contextmanager
    def recorded(self) -> Iterator[list[Any]]:
        """Collect what every layer puts out in the passes of the block, in order of the layers."""
        outputs: list[Any] = [None] * len(self)

        def keep(position: int) -> Callable[..., None]:
            def hook(module: nn.Module, arguments: Any, output: Any) -> None:
                outputs[position] = output

            return hook

        handles = [layer.register_forward_hook(keep(position)) for position, layer in enumerate(self.layers.modules)]
        try:
            yield outputs
        finally:
            for handle in handles:
                handle.remove()

    @contextlib.contextmanager
    def restored(self, layers: Sequence[int], known: Sequence[Any] = ()) -> Iterator[None]:
        """Put layers back to base for the length of the block.

        Args:
            layers: 1..L.
            known: Outputs of the first ``len(known)`` layers, which are given instead of computed; of a pass over the
                same batch in which these layers were as they are to be now.
        """
        wanted = set(layers)
        changed: list[Any] = []
        try:
            for position, layer in enumerate(self.layers.modules):
                if position < len(known):
                    _set(layer, _giving(known[position]), changed)
                elif position + 1 in wanted:
                    _set(layer, self._base[position], changed)
            yield
        finally:
            for layer in changed:
                del layer.forward


def check_alike(base: DecoderLayers, tuned: DecoderLayers) -> None:
    """Refuse layers that cannot stand for one another, and a base with adapters.

    Raises:
        ValueError: With what differs. Beside adapters the shapes of weights are not compared.
    """
    expected = "expected two checkpoints of one architecture"
    if _has_adapters(base):
        raise ValueError("the base model carries adapters; expected the base model first and the tuned one second.")
    if base.num_layers != tuned.num_layers:
        raise ValueError(
            f"the base model has {count(base.num_layers, 'layer')} and the tuned one {tuned.num_layers}; {expected}."
        )
    adapted = _has_adapters(tuned)
    for number, (one, two) in enumerate(zip(base.modules, tuned.modules, strict=True), start=1):
        if type(one) is not type(two):
            raise ValueError(
                f"layer {number} is a {type(one).__name__} in the base model and a {type(two).__name__} in the tuned "
                f"one; {expected}."
            )
        if adapted:
            continue
        shapes = [{name: tuple(each.shape) for name, each in layer.named_parameters()} for layer in (one, two)]
        for name in sorted(shapes[0].keys() | shapes[1].keys()):
            found = [shape.get(name, "none") for shape in shapes]
            if found[0] != found[1]:
                raise ValueError(
                    f"{name} of layer {number} is {found[0]} in the base model and {found[1]} in the tuned one; "
                    f"{expected}."
                )


def _has_adapters(layers: DecoderLayers) -> bool:
    return any(is_tuner_layer(part) for layer in layers.modules for part in layer.modules())


def _set(layer: Any, call: Call, changed: list[Any]) -> None:
    if "forward" in vars(layer):
        raise ValueError(f"a {type(layer).__name__} has a forward of its own instance already; remove that hook first.")
    layer.forward = call
    changed.append(layer)


def _giving(output: Any) -> Call:
    """A layer that gives a copy of what it gave before: what follows may change it in place."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        if isinstance(output, Tensor):
            return output.clone()
        return tuple(part.clone() if isinstance(part, Tensor) else part for part in output)

    return call


def _without_adapters(layer: nn.Module) -> Call:
    def call(*arguments: Any, **keywords: Any) -> Any:
        if any(merged_layers(layer)):
            raise ValueError("the adapters are merged into the weights; unmerge_adapter() them first.")
        with switched_off(layer):
            return type(layer).forward(layer, *arguments, **keywords)

    return call
